"""Calls that take functions: their bodies shrink like graphs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from torchcrux.passes.base import Draft, Edit
from torchcrux.passes.bypass import alike
from torchcrux.passes.layouts import (
    AUTOGRAD_FUNCTION,
    POSITIONAL,
    Layout,
    bodies_of,
    body_at,
    call_with_bodies,
    calls_with_bodies,
    inputs_used,
    items_of,
    pruned,
    sharing,
    with_body,
    without_inputs,
    without_item,
)
from torchcrux.passes.trying import TriedFirst
from torchcrux.program.ir import Arg, Body, Node, Program, Ref
from torchcrux.program.literals import mapped, substituted, tidied
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
        body = body_at(draft.program, self.node, self.place)
        if body is None or not {self.name, self.by} <= body.program.by_name.keys():
            return draft
        smaller = _without(body, self.name, self.by)
        return with_body(draft, self.node, self.place, smaller)

    def __str__(self) -> str:
        return f"{self.by} instead of {self.name} in a body of {self.node}"


@dataclass(frozen=True, slots=True)
class DropOperand:
    """Without an operand that no body of `node` uses: the input called `name` of its body at
    `place`; so for the calls that share them."""

    node: str
    place: int
    name: str

    def apply(self, draft: Draft) -> Draft:
        found = call_with_bodies(draft.program, self.node, self.place)
        if found is None:
            return draft
        node, layout = found
        bodies = bodies_of(node, layout)
        if self.name not in _idle(node, layout, bodies):
            return draft  # by now it may be used
        at = [one.name for one in bodies[0].program.inputs].index(self.name)
        changed = {
            one.name: without_operand(one, layout, at) for one in sharing(node, draft.program)
        }
        return replace(draft, program=tidied(draft.program.replace_nodes(changed)))

    def __str__(self) -> str:
        return f"{self.node} without its operand {self.name}"


@dataclass(frozen=True, slots=True)
class SameOperand:
    """The bodies of `node`, and of the calls that share them, use the operand `by` for the operand
    `name`, both inputs of the body at `place`."""

    node: str
    place: int
    name: str
    by: str

    def apply(self, draft: Draft) -> Draft:
        found = call_with_bodies(draft.program, self.node, self.place)
        if found is None:
            return draft
        node, layout = found
        names = [one.name for one in bodies_of(node, layout)[0].program.inputs]
        if not {self.name, self.by} <= {*names}:
            return draft
        at, by = names.index(self.name), names.index(self.by)
        changed = {}
        for one in sharing(node, draft.program):
            args = list(one.args)
            for place, body in zip(layout.bodies, bodies_of(one, layout), strict=True):
                inputs = body.program.inputs
                args[place] = _renamed(body, inputs[at].name, inputs[by].name)
            changed[one.name] = replace(one, args=tuple(args))
        draft = replace(draft, program=draft.program.replace_nodes(changed))
        return DropOperand(self.node, self.place, self.name).apply(draft)

    def __str__(self) -> str:
        return f"{self.by} instead of {self.name} in the bodies of {self.node}"


class ShrinkBodies(TriedFirst):
    name = "bodies"
    summary = "operations inside of a higher-order operator go, and operands that it does not use"
    example = "def true_fn(x): return x.sin().cos()  ->  def true_fn(x): return x.sin()"

    def edits(self, draft: Draft) -> Iterator[Edit]:
        for node, layout in calls_with_bodies(draft.program):
            if sharing(node, draft.program)[0] is not node:
                continue
            bodies = bodies_of(node, layout)
            for place, body in zip(layout.bodies, bodies, strict=True):
                for call in body.program.calls:
                    for by in _substitutes(call, body.program):
                        yield ReplaceInside(node.name, place, call.name, by)
            yield from _same_operands(node, layout, bodies, draft.program)
            idle = _idle(node, layout, bodies)
            if node.target in POSITIONAL:  # the first is what is differentiated, or mapped
                first = bodies[0].program.inputs[0].name
                idle = iter(() if node.kwargs else [name for name in idle if name != first])
            yield from (DropOperand(node.name, layout.bodies[0], name) for name in idle)


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


def _same_operands(
    node: Node, layout: Layout, bodies: Sequence[Body], program: Program
) -> Iterator[SameOperand]:
    """Free operands that are the same as an earlier one, wherever the bodies are called."""
    different = len({len(one.program.inputs) for one in bodies}) != 1
    if layout.closed or different or node.target in POSITIONAL:
        return
    columns = [*zip(*(layout.operands(one) for one in sharing(node, program)), strict=True)]
    free = columns[layout.bound(node) - layout.own :]
    names = [one.name for one in bodies[0].program.inputs[layout.bound(node) :]]
    for name, column in zip(names, free, strict=True):
        before = names[free.index(column)]
        if before != name:
            yield SameOperand(node.name, layout.bodies[0], name, before)


def _renamed(body: Body, name: str, by: str) -> Body:
    """`body` with `by` in the stead of its input `name`."""
    result = mapped(body.result, lambda arg: Ref(by) if arg == Ref(name) else arg)
    program = body.program
    calls = substituted(Program(program.calls, ()), {name: by}).nodes
    outputs = tuple(dict.fromkeys(by if one == name else one for one in program.outputs))
    return Body(Program((*program.inputs, *calls), outputs), result)


def without_operand(node: Node, layout: Layout, at: int) -> Node:
    """The call without the operand that input `at` of its bodies is."""
    args = list(node.args)
    for place, body in zip(layout.bodies, bodies_of(node, layout), strict=True):
        args[place] = without_inputs(body, (at,))
    if node.target == AUTOGRAD_FUNCTION:
        args[1] = _without_result(args[1], at)
    before = layout.own
    for place in (*layout.carried, *(() if layout.free is None else (layout.free,))):
        held = items_of(node.args[place])
        if before <= at < before + len(held):
            args[place] = without_item(held, at - before)
        before += len(held)
    if layout.rest is not None:
        del args[layout.rest + at]
    return replace(node, args=tuple(args))


def _without_result(body: Arg, at: int) -> Arg:
    if not isinstance(body, Body) or not isinstance(body.result, (tuple, list)):
        return body
    return pruned(body.program, without_item(body.result, at))


def _without(body: Body, name: str, by: str) -> Body:
    result = mapped(body.result, lambda arg: Ref(by) if arg == Ref(name) else arg)
    nodes = tuple(node for node in body.program.nodes if node.name != name)
    return pruned(substituted(Program(nodes, ()), {name: by}), result)


def _idle(node: Node, layout: Layout, bodies: Sequence[Body]) -> Iterator[str]:
    """The inputs of the first body that none of the bodies uses, and that may go: what it refers
    to freely, and all but one of the sequences that it goes through."""
    if layout.closed:
        return
    used = [inputs_used(body) for body in bodies]
    first, last = layout.bound(node), layout.bound(node)
    if layout.carried and layout.carried[-1] != layout.states:
        sequences = len(items_of(node.args[layout.carried[-1]]))
        first -= sequences if sequences > 1 else 0
    columns = list(zip(*(body.program.inputs for body in bodies), strict=False))
    left = last - first
    for at, column in enumerate(columns[first:], first):
        if any(one.name in names for one, names in zip(column, used, strict=True)):
            continue
        if at < last:
            left -= 1
            if not left:
                continue  # one has to say how often
        yield column[0].name
