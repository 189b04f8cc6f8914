"""Inputs that a number can stand for."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from torchcrux.passes.base import Draft, Edit
from torchcrux.passes.trying import TriedFirst
from torchcrux.program.ir import Body, Node, Op, Program, Ref, Value
from torchcrux.program.literals import tidied, with_mapped
from torchcrux.program.spec import Tensor

_FILLED = {Value.ZEROS: 0, Value.ONES: 1}


@dataclass(frozen=True, slots=True)
class AsNumber:
    """Use `number` in the place of the input `name`."""

    name: str
    number: float

    def apply(self, draft: Draft) -> Draft:
        program = draft.program
        if self.name not in program.by_name or self.name in program.outputs:
            return draft
        nodes = tuple(
            node
            if node.op is Op.INPUT
            else with_mapped(node, lambda arg: self.number if arg == Ref(self.name) else arg)
            for node in program.nodes
            if node.name != self.name
        )
        return replace(draft, program=tidied(Program(nodes, program.outputs)))

    def __str__(self) -> str:
        return f"{self.number} in the place of {self.name}"


class NumberInputs(TriedFirst):
    """A tensor of nothing but zeros or ones may be there for a number, beside other tensors."""

    name = "number-inputs"
    summary = "an input that is all zeros or all ones becomes a number"
    example = "f(x, y): torch.where(x > 0, x, y)  ->  f(x): torch.where(x > 0, x, 0.0)"

    def edits(self, draft: Draft) -> Iterator[Edit]:
        tensors = {node.name for node in draft.program.nodes if isinstance(node.spec, Tensor)}
        for node in draft.program.inputs:
            number = _number(node)
            users = [one for one in draft.program.calls if node.name in one.references()]
            others = tensors - {node.name}
            if number is not None and all(_has_others(one, others) for one in users):
                yield AsNumber(node.name, number)


def _has_others(node: Node, tensors: AbstractSet[str]) -> bool:
    """Whether a call has one of `tensors`, and no functions: what those choose by is traced."""
    return not tensors.isdisjoint(node.references()) and not any(
        isinstance(arg, Body) for arg in node.args
    )


def _number(node: Node) -> float | None:
    """The number that all elements of an input are."""
    spec = node.spec
    if not isinstance(spec, Tensor) or spec.requires_grad:
        return None
    number = _FILLED.get(node.value)
    if number is None and node.value is Value.RANDOM and spec.low == spec.high:
        number = spec.low  # integers in between
    if number is None or spec.dtype.startswith("complex"):
        return None
    if spec.dtype == "bool":
        return bool(number)
    return float(number) if spec.is_floating else number
