"""Operators as a user calls them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torchcrux.passes.base import Draft, Edit
from torchcrux.passes.trying import TriedFirst
from torchcrux.program.ir import Node, Op, Ref

_OPERATORS = "torch.ops.aten."
_INFIX = {
    "add": "add", "sub": "sub", "subtract": "sub", "mul": "mul", "multiply": "mul",
    "div": "truediv", "divide": "truediv", "true_divide": "truediv", "floor_divide": "floordiv",
    "remainder": "mod", "pow": "pow", "matmul": "matmul", "bitwise_and": "and_",
    "bitwise_or": "or_", "bitwise_xor": "xor", "eq": "eq", "ne": "ne", "not_equal": "ne",
    "lt": "lt", "less": "lt", "le": "le", "less_equal": "le", "gt": "gt", "greater": "gt",
    "ge": "ge", "greater_equal": "ge", "neg": "neg", "negative": "neg", "bitwise_not": "invert",
    "and": "and_", "or": "or_", "xor": "xor", "invert": "invert",
}  # fmt: skip
"""Names of `torch` and of methods, without underscores around them, and those of `operator` that
are written between operands."""
_UNARY = ("neg", "invert")


@dataclass(frozen=True, slots=True)
class Respell:
    """Call `target`, with `op`, where `node` has called the operator `old`."""

    node: str
    old: str
    op: Op
    target: str

    def apply(self, draft: Draft) -> Draft:
        node = draft.program.by_name.get(self.node)
        if node is None or node.target != self.old:
            return draft
        return draft.with_nodes(**{node.name: replace(node, op=self.op, target=self.target)})

    def __str__(self) -> str:
        return f"{self.target} for {self.old}"


class PublicNames(TriedFirst):
    """A function of `torch`, else a method of the first operand; and of these, what has one, its
    sign."""

    name = "public-names"
    summary = "operators of the dispatcher become functions or methods of torch, and signs"
    example = "torch.ops.aten.relu.default(x)  ->  torch.relu(x)"

    def edits(self, draft: Draft) -> Iterator[Edit]:
        for node in draft.program.calls:
            sign = _sign(node)
            if sign is not None:
                yield Respell(node.name, node.target, Op.FUNCTION, f"operator.{sign}")
            if not node.target.startswith(_OPERATORS):
                continue
            name = node.target.removeprefix(_OPERATORS).partition(".")[0]
            yield Respell(node.name, node.target, Op.FUNCTION, f"torch.{name}")
            if _is_of_a_tensor(node):
                yield Respell(node.name, node.target, Op.METHOD, name)


def _sign(node: Node) -> str | None:
    """The function of `operator` that a call without further arguments is another word for."""
    target = node.target.removeprefix("torch.")
    if node.op is not Op.METHOD and target == node.target:
        return None
    sign = _INFIX.get(target.strip("_"))
    operands = 1 if sign in _UNARY else 2
    return sign if len(node.args) == operands and not node.kwargs else None


def _is_of_a_tensor(node: Node) -> bool:
    return bool(node.args) and isinstance(node.args[0], Ref)
