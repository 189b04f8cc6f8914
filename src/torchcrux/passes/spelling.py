"""Operators as a user calls them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torchcrux.passes.base import Draft, Edit
from torchcrux.passes.trying import TriedFirst
from torchcrux.program.ir import Node, Op, Ref

_OPERATORS = "torch.ops.aten."


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
    """A function of `torch`, else a method of the first operand."""

    name = "public-names"
    summary = "operators of the dispatcher become functions or methods of torch"
    example = "torch.ops.aten.relu.default(x)  ->  torch.relu(x)"

    def edits(self, draft: Draft) -> Iterator[Edit]:
        for node in draft.program.calls:
            if not node.target.startswith(_OPERATORS):
                continue
            name = node.target.removeprefix(_OPERATORS).partition(".")[0]
            yield Respell(node.name, node.target, Op.FUNCTION, f"torch.{name}")
            if _is_of_a_tensor(node):
                yield Respell(node.name, node.target, Op.METHOD, name)


def _is_of_a_tensor(node: Node) -> bool:
    return bool(node.args) and isinstance(node.args[0], Ref)
