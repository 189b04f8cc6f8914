"""Where a call that takes functions keeps what these take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torchcrux.emit.bodies import (
    FLEX_ATTENTION,
    GRAD,
    GRAD_AND_VALUE,
    HIGHER_ORDER,
    JACFWD,
    JACREV,
    JVP,
    VJP,
    VMAP,
)
from torchcrux.program.ir import Arg, Body, Node, Program


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a call keeps what its bodies take: the operands are the items of the tuples at the
    places `carried` and `free` of its arguments, or all arguments from place `rest` on. The first
    inputs of a body, as many as its `own`, are none of them."""

    bodies: tuple[int, ...]
    carried: tuple[int, ...] = ()
    free: int | None = None
    rest: int | None = None
    own: int = 0

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


LAYOUTS = {
    f"{HIGHER_ORDER}cond": Layout((1, 2), free=3),
    f"{HIGHER_ORDER}while_loop": Layout((1, 0), carried=(2,), free=3),
    f"{HIGHER_ORDER}tag_activation_checkpoint": Layout((0,), rest=1),
    f"{HIGHER_ORDER}invoke_subgraph": Layout((0,), rest=2),
    f"{HIGHER_ORDER}autograd_function_apply": Layout((0,), rest=2),
    f"{HIGHER_ORDER}map_impl": Layout((0,), carried=(1,), free=2),
    f"{HIGHER_ORDER}scan": Layout((0,), carried=(1, 2), free=3),
    **dict.fromkeys((VMAP, GRAD, GRAD_AND_VALUE, JACREV, JACFWD), Layout((0,), rest=1)),
    f"{HIGHER_ORDER}flex_attention": Layout((3,), free=7, own=5),
    FLEX_ATTENTION: Layout((3,), free=4, own=5),
    VJP: Layout((0,), carried=(1,), free=2),
    JVP: Layout((0,), carried=(1,), free=3),
}

REGION = f"{HIGHER_ORDER}invoke_subgraph"
"""Its calls share a body, and are what they are together."""

POSITIONAL = frozenset({VMAP, GRAD, GRAD_AND_VALUE, JACREV, JACFWD})
"""Keywords such as in_dims and argnums count their operands."""

PAIRS = frozenset({VJP, JVP})
"""They return what the function returns, and something else."""


def call_with_bodies(program: Program, name: str) -> tuple[Node, Layout] | None:
    """The call `name`, if it is there and takes functions."""
    node = program.by_name.get(name)
    layout = None if node is None else LAYOUTS.get(node.target)
    if node is None or layout is None or node.obstacle is not None:
        return None
    return (node, layout) if len(node.args) > max(layout.bodies) else None


def calls_with_bodies(program: Program) -> Iterator[tuple[Node, Layout]]:
    for node in program.calls:
        found = call_with_bodies(program, node.name) if node.target in LAYOUTS else None
        if found is not None:
            yield found


def bodies_of(node: Node, layout: Layout) -> list[Body]:
    return [body for place in layout.bodies if isinstance(body := node.args[place], Body)]


def items_of(arg: Arg) -> Sequence[Arg]:
    return arg if isinstance(arg, (tuple, list)) else ()
