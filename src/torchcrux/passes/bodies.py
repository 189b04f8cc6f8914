"""Calls that take functions: the operator goes if its body will do; bodies shrink like graphs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

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
    """In the body at `place` of `node`, use `by` for `name`, and drop what is then without use."""

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
        changed = with_argument(node, ("args", self.place), _without(body, self.name, self.by))
        return replace(draft, program=draft.program.replace_nodes({node.name: changed}))

    def __str__(self) -> str:
        return f"{self.by} instead of {self.name} in a body of {self.node}"


@dataclass(frozen=True, slots=True)
class DropOperand:
    """Without an operand that no body of `node` uses: the input called `name` of its first body."""

    node: str
    name: str

    def apply(self, draft: Draft) -> Draft:
        node = draft.program.by_name.get(self.node)
        layout = LAYOUTS.get(node.target) if node else None
        if node is None or layout is None:
            return draft
        bodies = _bodies(node, layout)
        names = [one.name for one in bodies[0].program.inputs]
        if self.name not in names:
            return draft
        at = names.index(self.name)
        args = list(node.args)
        for place in layout.bodies:
            args[place] = _without_input(bodies[layout.bodies.index(place)], at)
        if layout.rest is not None:
            del args[layout.rest + at]
        elif layout.free is not None:
            before = sum(len(_items(node.args[place])) for place in layout.carried)
            held = _items(node.args[layout.free])
            args[layout.free] = tuple(one for i, one in enumerate(held) if i + before != at)
        changed = replace(node, args=tuple(args))
        return replace(draft, program=tidied(draft.program.replace_nodes({node.name: changed})))

    def __str__(self) -> str:
        return f"{self.node} without its operand {self.name}"


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
                    by = _substitute(call, body.program)
                    if by is not None:
                        yield ReplaceInside(node.name, place, call.name, by)
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


def _substitute(call: Node, program: Program) -> str | None:
    """What a body may use for the value of `call`: an operand or an input, of the same kind."""
    earlier = [*call.references(), *(node.name for node in program.inputs)]
    return next((name for name in earlier if alike(call, program.by_name[name])), None)


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
