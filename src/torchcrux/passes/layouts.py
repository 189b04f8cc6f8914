"""Where a call that takes functions keeps what these take, and what they give."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from torchcrux.emit.attention import FLEX_ATTENTION
from torchcrux.emit.bodies import GRAD, GRAD_AND_VALUE, JACFWD, JACREV, JVP, VJP, VMAP
from torchcrux.emit.calls import HIGHER_ORDER
from torchcrux.emit.random import writes
from torchcrux.emit.scans import ASSOCIATIVE_SCAN
from torchcrux.passes.base import Draft
from torchcrux.program.ir import Arg, Body, Node, Op, Program
from torchcrux.program.literals import with_argument


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a call keeps what some of its bodies take and give.

    The operands of the `bodies`, which have the same inputs, are the items of the tuples at the
    places `carried` and `free` of the arguments, or all arguments from place `rest` on. The first
    inputs of a body, as many as its `own`, are none of them; a `closed` one has no operands at all.
    What the call returns are the items that the bodies `giving` return. The first of these are
    carried from step to step, as many as the tuple at place `states` has.
    """

    bodies: tuple[int, ...]
    carried: tuple[int, ...] = ()
    free: int | None = None
    rest: int | None = None
    own: int = 0
    closed: bool = False
    giving: tuple[int, ...] = ()
    states: int | None = None

    def bound(self, node: Node) -> int:
        """How many inputs of a body come before those that it refers to freely."""
        return self.own + sum(len(items_of(node.args[place])) for place in self.carried)

    def operands(self, node: Node) -> list[Arg]:
        """In the order of the inputs of a body."""
        found: list[Arg] = []
        for place in (*self.carried, *(() if self.free is None else (self.free,))):
            held = node.args[place]
            found += held if isinstance(held, (tuple, list)) else []
        return found + list(node.args[self.rest :] if self.rest is not None else ())


AUTOGRAD_FUNCTION = f"{HIGHER_ORDER}autograd_function_apply"
REGION = f"{HIGHER_ORDER}invoke_subgraph"
"""Its calls share a body, and are what they are together."""

LAYOUTS: Mapping[str, tuple[Layout, ...]] = {
    f"{HIGHER_ORDER}cond": (Layout((1, 2), free=3, giving=(1, 2)),),
    f"{HIGHER_ORDER}while_loop": (Layout((1, 0), carried=(2,), free=3, giving=(1,), states=2),),
    f"{HIGHER_ORDER}tag_activation_checkpoint": (Layout((0,), rest=1, giving=(0,)),),
    REGION: (Layout((0,), rest=2, giving=(0,)),),
    AUTOGRAD_FUNCTION: (Layout((0,), rest=2), Layout((1,), closed=True)),
    f"{HIGHER_ORDER}map_impl": (Layout((0,), carried=(1,), free=2, giving=(0,)),),
    f"{HIGHER_ORDER}scan": (Layout((0,), carried=(1, 2), free=3, giving=(0,), states=1),),
    ASSOCIATIVE_SCAN: (Layout((0,), carried=(1, 1), free=2, giving=(0,), states=1),),
    **dict.fromkeys((VMAP, GRAD, GRAD_AND_VALUE, JACREV, JACFWD), (Layout((0,), rest=1),)),
    f"{HIGHER_ORDER}flex_attention": (Layout((3,), free=7, own=5),),
    FLEX_ATTENTION: (Layout((3,), free=4, own=5), Layout((5,), free=6, own=4)),
    VJP: (Layout((0,), carried=(1,), free=2),),
    JVP: (Layout((0,), carried=(1,), free=3),),
}

POSITIONAL = frozenset({VMAP, GRAD, GRAD_AND_VALUE, JACREV, JACFWD})
"""Keywords such as in_dims and argnums count their operands."""

PAIRS = frozenset({VJP, JVP})
"""They return what the function returns, and something else."""


def call_with_bodies(program: Program, name: str, place: int) -> tuple[Node, Layout] | None:
    """The call `name`, if it is there and takes a function at `place`."""
    node = program.by_name.get(name)
    found = () if node is None else layouts(node)
    return next(((node, one) for one in found if node and place in one.bodies), None)


def calls_with_bodies(program: Program) -> Iterator[tuple[Node, Layout]]:
    for node in program.calls:
        if node.target in LAYOUTS:
            yield from ((node, layout) for layout in layouts(node))


def layouts(node: Node) -> list[Layout]:
    """Those whose bodies are there."""
    if node.obstacle is not None:
        return []
    known = LAYOUTS.get(node.target, ())
    return [one for one in known if len(bodies_of(node, one)) == len(one.bodies)]


def bodies_of(node: Node, layout: Layout) -> list[Body]:
    held = (node.args[place] for place in layout.bodies if place < len(node.args))
    return [body for body in held if isinstance(body, Body)]


def items_of(arg: Arg) -> Sequence[Arg]:
    return arg if isinstance(arg, (tuple, list)) else ()


def sharing(node: Node, program: Program) -> list[Node]:
    """`node`, and the calls of the same region."""
    if node.target != REGION:
        return [node]
    body = node.args[0]
    return [one for one in program.calls if one.target == REGION and one.args[0] == body]


def body_at(program: Program, name: str, place: int) -> Body | None:
    node = program.by_name.get(name)
    body = node.args[place] if node is not None and place < len(node.args) else None
    return body if isinstance(body, Body) else None


def with_body(draft: Draft, name: str, place: int, body: Body) -> Draft:
    """The draft with `body` at `place` of the call `name`, and of those that share it."""
    program = draft.program
    node = program.by_name[name]
    changed = {
        one.name: with_argument(one, ("args", place), body) for one in sharing(node, program)
    }
    return replace(draft, program=program.replace_nodes(changed))


def pruned(program: Program, result: Arg) -> Body:
    """A function that computes of `program` what `result` needs, and returns that."""
    kept: list[Node] = []
    used = set(_of(result))
    for node in reversed(program.calls):
        if node.name in used or writes(node):
            kept.insert(0, node)
            used.update(node.references())
    outputs = tuple(dict.fromkeys(_of(result)))
    return Body(Program((*program.inputs, *kept), outputs), result)


def inputs_used(body: Body) -> set[str]:
    used = {name for call in body.program.calls for name in call.references()}
    return used.union(_of(body.result))


def without_inputs(body: Body, places: Sequence[int]) -> Body:
    gone = {body.program.inputs[at].name for at in places}
    nodes = tuple(node for node in body.program.nodes if node.name not in gone)
    return replace(body, program=replace(body.program, nodes=nodes))


def without_item(items: Sequence[Arg], at: int) -> Arg:
    left = [one for i, one in enumerate(items) if i != at]
    return left if isinstance(items, list) else tuple(left)


def _of(result: Arg) -> tuple[str, ...]:
    """The values that `result` refers to."""
    return Node("", Op.FUNCTION, args=(result,)).references()
