"""Inputs that a number can stand for."""

from __future__ import annotations

from collections.abc import Iterator
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
        if not _is_beside_tensors(self.name, program):  # as it may be after another edit
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
    """A tensor of which all elements are the same may be there for a number, beside others."""

    name = "number-inputs"
    summary = "an input of which all elements are the same becomes a number"
    example = "f(x, y): torch.where(x > 0, x, y)  ->  f(x): torch.where(x > 0, x, 0.0)"

    def edits(self, draft: Draft) -> Iterator[Edit]:
        for node in draft.program.inputs:
            number = _number(node)
            if number is not None and _is_beside_tensors(node.name, draft.program):
                yield AsNumber(node.name, number)


def _is_beside_tensors(name: str, program: Program) -> bool:
    """Whether only calls use the input, each of which has another tensor and no functions: what
    those choose by is traced."""
    tensors = {node.name for node in program.nodes if isinstance(node.spec, Tensor)} - {name}
    users = [node for node in program.calls if name in node.references()]
    return name not in program.outputs and all(
        not tensors.isdisjoint(node.references())
        and not any(isinstance(arg, Body) for arg in node.args)
        for node in users
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
