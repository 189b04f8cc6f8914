"""Calls that take functions: the operator goes if its body will do; bodies shrink like graphs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from torchcrux.emit.bodies import (
    GRAD,
    GRAD_AND_VALUE,
    HIGHER_ORDER,
    JACFWD,
    JACREV,
    JVP,
    VJP,
    VMAP,
)
from torchcrux.emit.random import writes
from torchcrux.passes.base import Draft, Edit
from torchcrux.passes.bypass import alike
from torchcrux.passes.trying import TriedFirst
from torchcrux.program.ir import Arg, Body, Node, Op, Program, Ref
from torchcrux.program.literals import mapped, substituted, tidied, with_argument, with_mapped
from torchcrux.program.spec import Tensor


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a call keeps what its bodies take: the operands are the items of the tuples at the
    places `carried` and `free` of its arguments, or all arguments from place `rest` on."""

    bodies: tuple[int, ...]
    carried: tuple[int, ...] = ()
    free: int | None = None
    rest: int | None = None

    def operands(self, node: Node) -> list[Arg]:
        """In the order of the inputs of a body."""
        found: list[Arg] = []
        for place in (*self.carried, *(() if self.free is None else (self.free,))):
            held = node.args[place]
            found += held if isinstance(held, (tuple, list)) else []
        return found + list(node.args[self.rest :] if self.rest is not None else ())


LAYOUTS = {
    f"{HIGHER_ORDER}cond": Layout((1, 2), free=3),
    f"{HIGHER_ORDER}while_loop": Layout((1, 0), carried=(2,), free=3),
    f"{HIGHER_ORDER}tag_activation_checkpoint": Layout((0,), rest=1),
    f"{HIGHER_ORDER}invoke_subgraph": Layout((0,), rest=2),
    f"{HIGHER_ORDER}autograd_function_apply": Layout((0,), rest=2),
    f"{HIGHER_ORDER}map_impl": Layout((0,), carried=(1,), free=2),
    f"{HIGHER_ORDER}scan": Layout((0,), carried=(1, 2), free=3),
    **dict.fromkeys((VMAP, GRAD, GRAD_AND_VALUE, JACREV, JACFWD), Layout((0,), rest=1)),
    VJP: Layout((0,), carried=(1,), free=2),
    JVP: Layout((0,), carried=(1,), free=3),
}

REGION = f"{HIGHER_ORDER}invoke_subgraph"
"""Its calls share a body, and are what they are together."""

_POSITIONAL = frozenset({VMAP, GRAD, GRAD_AND_VALUE, JACREV, JACFWD})
"""Keywords such as in_dims and argnums count their operands."""

_PAIRS = frozenset({VJP, JVP})
"""They return what the function returns, and something else."""


@dataclass(frozen=True, slots=True)
class Inline:
    """The calls of the body at `place` in the stead of the call `node`."""

    node: str
    place: int

    def apply(self, draft: Draft) -> Draft:
        node = draft.program.by_name.get(self.node)
        layout = LAYOUTS.get(node.target) if node else None
        if node is None or layout is None:
            return draft
        body = node.args[self.place]
        program = _inlined(draft.program, node, body, layout) if isinstance(body, Body) else None
        return draft if program is None else replace(draft, program=tidied(program))

    def __str__(self) -> str:
        return f"the body of {self.node} in its stead"


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
        node = draft.program.by_name.get(self.node)
        layout = LAYOUTS.get(node.target) if node else None
        if node is None or layout is None:
            return draft
        bodies = _bodies(node, layout)
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
        node = draft.program.by_name.get(self.node)
        layout = LAYOUTS.get(node.target) if node else None
        if node is None or layout is None:
            return draft
        names = [one.name for one in _bodies(node, layout)[0].program.inputs]
        if not {self.name, self.by} <= {*names}:
            return draft
        at, by = names.index(self.name), names.index(self.by)
        changed = {}
        for one in _sharing(node, draft.program):
            args = list(one.args)
            for place, body in zip(layout.bodies, _bodies(one, layout), strict=True):
                inputs = body.program.inputs
                args[place] = _renamed(body, inputs[at].name, inputs[by].name)
            changed[one.name] = replace(one, args=tuple(args))
        draft = replace(draft, program=draft.program.replace_nodes(changed))
        return DropOperand(self.node, self.name).apply(draft)

    def __str__(self) -> str:
        return f"{self.by} instead of {self.name} in the bodies of {self.node}"


class InlineBodies(TriedFirst):
    name = "inline-bodies"
    summary = "the body of a higher-order operator takes its place"
    example = "torch.cond(p, true_fn, false_fn, (x,))  ->  x.sin()"

    def edits(self, draft: Draft) -> Iterator[Edit]:
        for node, layout in _calls(draft.program):
            for place in layout.bodies:
                yield Inline(node.name, place)


class ShrinkBodies(TriedFirst):
    name = "bodies"
    summary = "operations inside of a higher-order operator go, and operands that it does not use"
    example = "def true_fn(x): return x.sin().cos()  ->  def true_fn(x): return x.sin()"

    def edits(self, draft: Draft) -> Iterator[Edit]:
        for node, layout in _calls(draft.program):
            bodies = _bodies(node, layout)
            for place, body in zip(layout.bodies, bodies, strict=True):
                for call in body.program.calls:
                    for by in _substitutes(call, body.program):
                        yield ReplaceInside(node.name, place, call.name, by)
            yield from _same_operands(node, layout, bodies, draft.program)
            if node.target not in _POSITIONAL:
                yield from (DropOperand(node.name, name) for name in _idle(node, layout, bodies))
            elif not node.kwargs:  # the first is what is differentiated, or mapped
                first = bodies[0].program.inputs[0].name
                idle = (name for name in _idle(node, layout, bodies) if name != first)
                yield from (DropOperand(node.name, name) for name in idle)


def _calls(program: Program) -> Iterator[tuple[Node, Layout]]:
    for node in program.calls:
        layout = LAYOUTS.get(node.target)
        if layout is not None and node.obstacle is None:
            yield node, layout


def _bodies(node: Node, layout: Layout) -> list[Body]:
    return [body for place in layout.bodies if isinstance(body := node.args[place], Body)]


def _items(arg: Arg) -> Sequence[Arg]:
    return arg if isinstance(arg, (tuple, list)) else ()


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
    if node.target in _POSITIONAL or len({len(one.program.inputs) for one in bodies}) != 1:
        return
    first = sum(len(_items(node.args[place])) for place in layout.carried)
    columns = [*zip(*(layout.operands(one) for one in _sharing(node, program)), strict=True)]
    names = [one.name for one in bodies[0].program.inputs]
    for at, column in enumerate(columns[first:], first):
        before = columns.index(column)
        if first <= before < at:
            yield SameOperand(node.name, names[at], names[before])


def _renamed(body: Body, name: str, by: str) -> Body:
    """`body` with `by` in the stead of its input `name`."""
    result = mapped(body.result, lambda arg: Ref(by) if arg == Ref(name) else arg)
    program = body.program
    calls = substituted(Program(program.calls, ()), {name: by}).nodes
    outputs = tuple(dict.fromkeys(by if one == name else one for one in program.outputs))
    return Body(Program((*program.inputs, *calls), outputs), result)


def _without_operand(node: Node, layout: Layout, at: int) -> Node:
    args = list(node.args)
    for place, body in zip(layout.bodies, _bodies(node, layout), strict=True):
        args[place] = _without_input(body, at)
    if layout.rest is not None:
        del args[layout.rest + at]
    elif layout.free is not None:
        before = sum(len(_items(node.args[place])) for place in layout.carried)
        held = _items(node.args[layout.free])
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
    first = sum(len(_items(node.args[place])) for place in layout.carried)
    used = [
        {ref for call in body.program.calls for ref in call.references()}
        | set(Node("", Op.FUNCTION, args=(body.result,)).references())
        for body in bodies
    ]
    columns = list(zip(*(body.program.inputs for body in bodies), strict=False))
    for column in columns[first:]:
        if not any(one.name in names for one, names in zip(column, used, strict=True)):
            yield column[0].name


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
        calls.append(replace(moved, name=name, regions=(*node.regions, *call.regions)))
        own[call.name] = Ref(name)
    result = mapped(
        body.result, lambda arg: own.get(arg.name, arg) if isinstance(arg, Ref) else arg
    )
    if node.target in _PAIRS:
        result = (result,)
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
