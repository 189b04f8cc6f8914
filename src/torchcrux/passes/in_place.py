"""Calls that write into their operand return a new value instead."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torchcrux.emit.random import name_of, writes
from torchcrux.passes.base import Draft, Edit
from torchcrux.passes.trying import TriedFirst
from torchcrux.program.ir import Node, Op, Program, Ref
from torchcrux.program.literals import substituted


@dataclass(frozen=True, slots=True)
class NewValue:
    """Let the call `node` of `old` be one of `target`, without ``inplace=True``; what came after it
    takes what it returns for its first operand."""

    node: str
    old: str
    target: str

    def apply(self, draft: Draft) -> Draft:
        program = draft.program
        call = program.by_name.get(self.node)
        if call is None or call.target != self.old or not writes(call):
            return draft
        operand = call.args[0]
        assert isinstance(operand, Ref)
        kwargs = tuple(pair for pair in call.kwargs if pair[0] != "inplace")
        new = replace(call, target=self.target, kwargs=kwargs)
        at = program.nodes.index(call)
        later = Program(program.nodes[at + 1 :], program.outputs)
        later = substituted(later, {operand.name: self.node})
        used = {name for node in later.nodes for name in node.references()}
        # What was written was seen after the call, if nothing else has made use of it.
        unseen = self.node not in used and self.node not in later.outputs
        outputs = (*later.outputs, self.node) if unseen else later.outputs
        return replace(draft, program=Program((*program.nodes[:at], new, *later.nodes), outputs))

    def __str__(self) -> str:
        return f"{self.node} is a new value"


class OutOfPlace(TriedFirst):
    """Most operations that are written in place, as activations of vision models are, need not."""

    name = "out-of-place"
    summary = "what is written in place becomes a new value"
    example = "F.relu(x, inplace=True)  ->  F.relu(x)"

    def edits(self, draft: Draft) -> Iterator[Edit]:
        for node in draft.program.calls:
            if writes(node) and node.args and isinstance(node.args[0], Ref):
                yield from (NewValue(node.name, node.target, name) for name in _names(node))


def _names(node: Node) -> Iterator[str]:
    """What the same call out of place may be called; eager says whether it is."""
    name = name_of(node)
    if dict(node.kwargs).get("inplace") is True:
        yield node.target
    elif node.op is Op.METHOD or node.target.startswith("torch."):
        if name.endswith("_") and node.target.endswith(name):
            yield node.target[:-1]
    elif node.target.startswith("operator.i"):
        yield f"operator.{name[1:]}"
