"""Constants in the place of random numbers, a seed only if the numbers matter; and round ones."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from torchcrux.emit.inputs import uses_random
from torchcrux.passes.base import Draft, Edit
from torchcrux.passes.inputs import Fill, SetValue
from torchcrux.passes.scattered import MOST_FILLED
from torchcrux.passes.trying import TriedFirst
from torchcrux.program.ir import Value
from torchcrux.program.spec import Spec, Tensor

MOST_NUMBERED = 64
"""Of more, the numbers are too large to be usual values."""


class PlainValues(TriedFirst):
    """Ones, and zeros for integers, which are always indices that exist; `swapped`, the other way
    round, for what is still random then."""

    summary = "random values become ones or zeros"
    example = "torch.randn(2)  ->  torch.ones(2)"

    def __init__(self, swapped: bool = False) -> None:
        self.swapped = swapped
        self.name = "other-plain-values" if swapped else "plain-values"

    def edits(self, draft: Draft) -> Iterator[Edit]:
        for node in draft.program.inputs:
            spec = node.spec
            if node.value is Value.RANDOM and (uses_random(node) or _is_another_number(spec)):
                index = isinstance(spec, Tensor) and not spec.is_floating
                zeros = index is not self.swapped
                yield SetValue(node.name, Value.ZEROS if zeros else Value.ONES)


def _is_another_number(spec: Spec | None) -> bool:
    """Whether all elements are one integer, neither 0 nor 1."""
    return isinstance(spec, Tensor) and spec.low == spec.high and spec.low not in (None, 0, 1)


class NumberedValues(TriedFirst):
    """What needs several numbers, but none in particular, is read more easily without a seed."""

    name = "numbered-values"
    summary = "a few random values become 0, 1, 2, ..."
    example = "torch.randn(3)  ->  torch.arange(3.0)"

    def edits(self, draft: Draft) -> Iterator[Edit]:
        for node in draft.program.inputs:
            if node.value is Value.RANDOM and uses_random(node) and _can_be_numbered(node.spec):
                yield SetValue(node.name, Value.ARANGE)


class NegativeValues(TriedFirst):
    """What neither ones nor zeros do, and no numbers from 0 on, a negative number may."""

    name = "negative-values"
    summary = "random values become -1"
    example = "torch.randn(1)  ->  torch.tensor([-1.0])"

    def edits(self, draft: Draft) -> Iterator[Edit]:
        for node in draft.program.inputs:
            if node.value is Value.RANDOM and uses_random(node) and _can_be_negative(node.spec):
                assert isinstance(node.spec, Tensor)
                yield Fill(node.name, -1.0 if node.spec.is_floating else -1)


def _can_be_negative(spec: Spec | None) -> bool:
    if not isinstance(spec, Tensor) or spec.form or spec.lengths or spec.parts or spec.conj:
        return False
    if not (spec.is_contiguous and 0 < spec.elements <= MOST_FILLED):
        return False
    return spec.is_floating or (spec.low is not None and spec.low <= -1)


def _can_be_numbered(spec: Spec | None) -> bool:
    if not isinstance(spec, Tensor) or spec.form or spec.lengths or spec.parts:
        return False
    if not 1 < spec.elements <= MOST_NUMBERED or "complex" in spec.dtype or spec.dtype == "bool":
        return False
    return spec.is_floating or ((spec.low or 0) <= 0 and spec.elements - 1 <= (spec.high or 0))


@dataclass(frozen=True, slots=True)
class Round:
    """Leave so many significant digits of the numbers of a literal."""

    name: str
    digits: int

    def apply(self, draft: Draft) -> Draft:
        node = draft.program.by_name.get(self.name)
        if node is None or node.value is not Value.LITERAL:
            return draft
        elements = tuple(self._rounded(element) for element in node.elements)
        return draft.with_nodes(**{self.name: replace(node, elements=elements)})

    def _rounded(self, element: int | float | bool | complex | str) -> Any:
        if not isinstance(element, float) or not math.isfinite(element):
            return element
        return float(f"{element:.{self.digits - 1}e}")

    def __str__(self) -> str:
        return f"{self.name} rounded to {self.digits} digit{'s' * (self.digits > 1)}"


class RoundValues:
    """What eager computed has more digits than a person would write."""

    name = "round-values"
    summary = "the numbers of a literal lose digits"
    example = "torch.tensor([122.591796875])  ->  torch.tensor([100.0])"

    def edits(self, draft: Draft) -> Iterator[Edit]:
        for node in draft.program.inputs:
            if node.value is Value.LITERAL:
                tried = (Round(node.name, digits) for digits in (1, 2, 3))
                yield from (edit for edit in tried if edit.apply(draft) != draft)
