"""The body of a call that takes functions, in the stead of the call."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torchcrux.passes.base import Draft, Edit
from torchcrux.passes.layouts import (
    AUTOGRAD_FUNCTION,
    PAIRS,
    Layout,
    call_with_bodies,
    calls_with_bodies,
    items_of,
)
from torchcrux.passes.trying import TriedFirst
from torchcrux.program.ir import Arg, Body, Node, Program, Ref, Region
from torchcrux.program.literals import mapped, substituted, tidied, with_mapped


@dataclass(frozen=True, slots=True)
class Inline:
    """The calls of the body at `place` in the stead of the call `node`."""

    node: str
    place: int

    def apply(self, draft: Draft) -> Draft:
        found = call_with_bodies(draft.program, self.node, self.place)
        if found is None:
            return draft
        node, layout = found
        body = node.args[self.place]
        program = _inlined(draft.program, node, body, layout) if isinstance(body, Body) else None
        return draft if program is None else replace(draft, program=tidied(program))

    def __str__(self) -> str:
        return f"the body of {self.node} in its stead"


class InlineBodies(TriedFirst):
    name = "inline-bodies"
    summary = "the body of a higher-order operator takes its place"
    example = "torch.cond(p, true_fn, false_fn, (x,))  ->  x.sin()"

    def edits(self, draft: Draft) -> Iterator[Edit]:
        for node, layout in calls_with_bodies(draft.program):
            for place in () if layout.closed else layout.bodies:
                yield Inline(node.name, place)


def _inlined(program: Program, node: Node, body: Body, layout: Layout) -> Program | None:
    """None where what the call returns is used in a way that the body's values cannot stand for."""
    inputs = [one.name for one in body.program.inputs]
    operands = layout.operands(node)
    if len(inputs) != len(operands):
        return None
    taken = set(program.by_name)
    own: dict[str, Arg] = dict(zip(inputs, operands, strict=True))
    calls: list[Node] = []
    for call in body.program.calls:
        name = call.name
        while name in taken:
            name += "_"
        taken.add(name)
        moved = with_mapped(
            call, lambda arg: own.get(arg.name, arg) if isinstance(arg, Ref) else arg
        )
        own_regions = _outside(call) if node.target == AUTOGRAD_FUNCTION else call.regions
        calls.append(replace(moved, name=name, regions=(*node.regions, *own_regions)))
        own[call.name] = Ref(name)
    result = mapped(
        body.result, lambda arg: own.get(arg.name, arg) if isinstance(arg, Ref) else arg
    )
    if node.target in PAIRS:
        result = (result,)
    if node.target == AUTOGRAD_FUNCTION:  # without what it keeps for its backward
        result, _ = items_of(result)
    if isinstance(result, (tuple, list)):
        names = [one.name if isinstance(one, Ref) else None for one in result]
    else:
        names = [result.name] if isinstance(result, Ref) else [None]
    by: dict[str, str] = {}
    for user in program.calls:
        if node.name not in user.references():
            continue
        index = user.args[1] if user.target == "operator.getitem" else None
        item = names[index] if isinstance(index, int) and index < len(names) else None
        if item is None and not isinstance(result, Ref):
            return None
        if item is not None and isinstance(result, (tuple, list)):
            by[user.name] = item
    if isinstance(result, Ref):
        by[node.name] = result.name
    outputs: list[str] = []
    for name in program.outputs:
        outputs += [one for one in names if one] if name == node.name else [name]
    nodes: list[Node] = []
    for one in program.nodes:
        if one.name == node.name:
            nodes += calls
        elif one.name not in by:
            nodes.append(one)
    left = Program(tuple(nodes), tuple(dict.fromkeys(outputs)))
    return substituted(left, by) if left.outputs else None


def _outside(call: Node) -> tuple[Region, ...]:
    """Its scopes, without that in which autograd calls a forward."""
    return tuple(region for region in call.regions if region.text != "torch.no_grad()")
