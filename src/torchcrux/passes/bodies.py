"""Calls that take functions: their bodies shrink like graphs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from torchcrux.emit.random import writes
from torchcrux.passes.base import Draft, Edit
from torchcrux.passes.bypass import alike
from torchcrux.passes.layouts import (
    POSITIONAL,
    REGION,
    Layout,
    bodies_of,
    call_with_bodies,
    calls_with_bodies,
    items_of,
)
from torchcrux.passes.trying import TriedFirst
from torchcrux.program.ir import Body, Node, Op, Program, Ref
from torchcrux.program.literals import mapped, substituted, tidied, with_argument
from torchcrux.program.spec import Tensor


@dataclass(frozen=True, slots=True)
class ReplaceInside:
    """In the body at `place` of `node`, and of the calls that share it, use `by` for `name`, and
    drop what is then without use."""

    node: str
    place: int
    name: str
    by: str

    def apply(self, draft: Draft) -> Draft:
        node = draft.program.by_name.get(self.node)
        if node is None or self.place >= len(node.args):
            return draft
        body = node.args[self.place]
        if not isinstance(body, Body) or not {self.name, self.by} <= body.program.by_name.keys():
            return draft
        smaller = _without(body, self.name, self.by)
        sharing = {
            one.name: with_argument(one, ("args", self.place), smaller)
            for one in _sharing(node, draft.program)
        }
        return replace(draft, program=draft.program.replace_nodes(sharing))

    def __str__(self) -> str:
        return f"{self.by} instead of {self.name} in a body of {self.node}"


@dataclass(frozen=True, slots=True)
class DropOperand:
    """Without an operand that no body of `node` uses: the input called `name` of its first body;
    so for the calls that share them."""

    node: str
    name: str

    def apply(self, draft: Draft) -> Draft:
        found = call_with_bodies(draft.program, self.node)
        if found is None:
            return draft
        node, layout = found
        bodies = bodies_of(node, layout)
        if self.name not in _idle(node, layout, bodies):
            return draft  # by now it may be used
        at = [one.name for one in bodies[0].program.inputs].index(self.name)
        sharing = {
            one.name: _without_operand(one, layout, at) for one in _sharing(node, draft.program)
        }
        return replace(draft, program=tidied(draft.program.replace_nodes(sharing)))

    def __str__(self) -> str:
        return f"{self.node} without its operand {self.name}"


@dataclass(frozen=True, slots=True)
class SameOperand:
    """The bodies of `node`, and of the calls that share them, use the operand `by` for the operand
    `name`, both inputs of the first body."""

    node: str
    name: str
    by: str

    def apply(self, draft: Draft) -> Draft:
        found = call_with_bodies(draft.program, self.node)
        if found is None:
            return draft
        node, layout = found
        names = [one.name for one in bodies_of(node, layout)[0].program.inputs]
        if not {self.name, self.by} <= {*names}:
            return draft
        at, by = names.index(self.name), names.index(self.by)
        changed = {}
        for one in _sharing(node, draft.program):
            args = list(one.args)
            for place, body in zip(layout.bodies, bodies_of(one, layout), strict=True):
                inputs = body.program.inputs
                args[place] = _renamed(body, inputs[at].name, inputs[by].name)
            changed[one.name] = replace(one, args=tuple(args))
        draft = replace(draft, program=draft.program.replace_nodes(changed))
        return DropOperand(self.node, self.name).apply(draft)

    def __str__(self) -> str:
        return f"{self.by} instead of {self.name} in the bodies of {self.node}"


class ShrinkBodies(TriedFirst):
    name = "bodies"
    summary = "operations inside of a higher-order operator go, and operands that it does not use"
    example = "def true_fn(x): return x.sin().cos()  ->  def true_fn(x): return x.sin()"

    def edits(self, draft: Draft) -> Iterator[Edit]:
        for node, layout in calls_with_bodies(draft.program):
            if _sharing(node, draft.program)[0] is not node:
                continue
            bodies = bodies_of(node, layout)
            for place, body in zip(layout.bodies, bodies, strict=True):
                for call in body.program.calls:
                    for by in _substitutes(call, body.program):
                        yield ReplaceInside(node.name, place, call.name, by)
            yield from _same_operands(node, layout, bodies, draft.program)
            if node.target not in POSITIONAL:
                yield from (DropOperand(node.name, name) for name in _idle(node, layout, bodies))
            elif not node.kwargs:  # the first is what is differentiated, or mapped
                first = bodies[0].program.inputs[0].name
                idle = (name for name in _idle(node, layout, bodies) if name != first)
                yield from (DropOperand(node.name, name) for name in idle)


def _substitutes(call: Node, program: Program) -> list[str]:
    """What a body may use for the value of `call`: operands, those of the same shape first, as far
    as was seen when the body was; else an input of the same kind."""
    operands = [*dict.fromkeys(call.references())]
    found = [name for name in operands if _same_dtype(call, program.by_name[name])]
    found.sort(key=lambda name: not alike(call, program.by_name[name]))
    inputs = (node.name for node in program.inputs if alike(call, node))
    return found or [*islice(inputs, 1)]


def _same_dtype(node: Node, other: Node) -> bool:
    one, two = node.spec, other.spec
    return isinstance(one, Tensor) and isinstance(two, Tensor) and one.dtype == two.dtype


def _sharing(node: Node, program: Program) -> list[Node]:
    """`node`, and the calls of the same region."""
    if node.target != REGION:
        return [node]
    body = node.args[0]
    return [one for one in program.calls if one.target == REGION and one.args[0] == body]


def _same_operands(
    node: Node, layout: Layout, bodies: Sequence[Body], program: Program
) -> Iterator[SameOperand]:
    """Free operands that are the same as an earlier one, wherever the bodies are called."""
    if node.target in POSITIONAL or len({len(one.program.inputs) for one in bodies}) != 1:
        return
    columns = [*zip(*(layout.operands(one) for one in _sharing(node, program)), strict=True)]
    free = columns[layout.bound(node) - layout.own :]
    names = [one.name for one in bodies[0].program.inputs[layout.bound(node) :]]
    for name, column in zip(names, free, strict=True):
        before = names[free.index(column)]
        if before != name:
            yield SameOperand(node.name, name, before)


def _renamed(body: Body, name: str, by: str) -> Body:
    """`body` with `by` in the stead of its input `name`."""
    result = mapped(body.result, lambda arg: Ref(by) if arg == Ref(name) else arg)
    program = body.program
    calls = substituted(Program(program.calls, ()), {name: by}).nodes
    outputs = tuple(dict.fromkeys(by if one == name else one for one in program.outputs))
    return Body(Program((*program.inputs, *calls), outputs), result)


def _without_operand(node: Node, layout: Layout, at: int) -> Node:
    args = list(node.args)
    for place, body in zip(layout.bodies, bodies_of(node, layout), strict=True):
        args[place] = _without_input(body, at)
    if layout.rest is not None:
        del args[layout.rest + at]
    elif layout.free is not None:
        held, before = items_of(node.args[layout.free]), layout.bound(node)
        args[layout.free] = tuple(one for i, one in enumerate(held) if i + before != at)
    return replace(node, args=tuple(args))


def _without(body: Body, name: str, by: str) -> Body:
    result = mapped(body.result, lambda arg: Ref(by) if arg == Ref(name) else arg)
    nodes = tuple(node for node in body.program.nodes if node.name != name)
    outputs = tuple(one for one in body.program.outputs if one != name)
    program = substituted(Program(nodes, outputs), {name: by})
    kept: list[Node] = []
    used = set(Node("", Op.FUNCTION, args=(result,)).references())
    for node in reversed(program.calls):
        if node.name in used or writes(node):
            kept.insert(0, node)
            used.update(node.references())
    outputs = tuple(dict.fromkeys(Node("", Op.FUNCTION, args=(result,)).references()))
    return Body(Program((*program.inputs, *kept), outputs), result)


def _without_input(body: Body, at: int) -> Body:
    dropped = body.program.inputs[at]
    nodes = tuple(node for node in body.program.nodes if node is not dropped)
    return replace(body, program=replace(body.program, nodes=nodes))


def _idle(node: Node, layout: Layout, bodies: Sequence[Body]) -> Iterator[str]:
    """The free inputs of the first body that none of the bodies uses."""
    used = [
        {ref for call in body.program.calls for ref in call.references()}
        | set(Node("", Op.FUNCTION, args=(body.result,)).references())
        for body in bodies
    ]
    columns = list(zip(*(body.program.inputs for body in bodies), strict=False))
    for column in columns[layout.bound(node) :]:
        if not any(one.name in names for one, names in zip(column, used, strict=True)):
            yield column[0].name
