"""`flex_attention` as a user calls it, in place of the operator that it comes down to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torchcrux.emit.attention import BLOCK, FLEX_ATTENTION
from torchcrux.emit.calls import HIGHER_ORDER
from torchcrux.passes.arguments import DropArgument
from torchcrux.passes.base import Draft, Edit
from torchcrux.passes.trying import TriedFirst
from torchcrux.program.ir import Arg, Body, Node, Program, Ref
from torchcrux.program.literals import Place, substituted, tidied
from torchcrux.program.spec import Sequence, Tensor

OPERATOR = f"{HIGHER_ORDER}flex_attention"

_FUNCTIONS = {3: "its score_mod", 5: "its mask"}
"""Where a call of the public function keeps its functions, each followed by what it refers to."""


@dataclass(frozen=True, slots=True)
class AsUsersCall:
    """Call the public function where `node` has called the operator: without the options of its
    kernels, without a mask unless it is `masked`, and with its own scale unless it is `scaled` as
    the operator was."""

    node: str
    masked: bool
    scaled: bool

    def apply(self, draft: Draft) -> Draft:
        program = draft.program
        node = program.by_name.get(self.node)
        public = None if node is None else _public(node, program, self.masked, self.scaled)
        if node is None or public is None:
            return draft
        items = [one for one in program.calls if node.name in one.references()]
        if not all(_is_first(one, node) for one in items):
            return draft
        gone = {one.name for one in items}
        nodes = [
            public if one.name == node.name else one
            for one in program.nodes
            if one.name not in gone
        ]
        left = Program(tuple(nodes), program.outputs)
        left = substituted(left, dict.fromkeys(gone, node.name))
        return replace(draft, program=tidied(left))

    def __str__(self) -> str:
        return f"{self.node} as a user calls it" + ", without a mask" * (not self.masked)


@dataclass(frozen=True, slots=True)
class WithoutFunction:
    """The public function `node` is not given the function at `place` of its arguments."""

    node: str
    place: int

    def apply(self, draft: Draft) -> Draft:
        node = draft.program.by_name.get(self.node)
        if node is None or node.target != FLEX_ATTENTION:
            return draft
        args = [*node.args[: self.place], None, (), *node.args[self.place + 2 :]]
        program = draft.program.replace_nodes({node.name: replace(node, args=tuple(args))})
        return replace(draft, program=tidied(program))

    def __str__(self) -> str:
        return f"flex_attention without {_FUNCTIONS[self.place]}"


class Attention(TriedFirst):
    name = "attention"
    summary = "flex_attention as a user calls it, without a mask if it can be"
    example = "torch.ops.higher_order.flex_attention(...)  ->  flex_attention(q, k, v, score_mod)"

    def edits(self, draft: Draft) -> Iterator[Edit]:
        for node in draft.program.calls:
            if node.target == FLEX_ATTENTION:
                for place in _FUNCTIONS:
                    if node.args[place] is not None:
                        yield WithoutFunction(node.name, place)
                for key, value in node.kwargs:
                    words = f"flex_attention without {key}={value}"
                    yield DropArgument(Place(node.name, ("kwargs", key)), words)
            elif _public(node, draft.program, masked=True, scaled=True) is not None:
                for masked in (False, True):
                    for scaled in (False, True):
                        yield AsUsersCall(node.name, masked, scaled)


def _public(node: Node, program: Program, masked: bool, scaled: bool) -> Node | None:
    if node.target != OPERATOR or node.obstacle is not None or len(node.args) < 9:
        return None
    query, key, value, score, block_mask, scale, _, score_free, mask_free = node.args[:9]
    if not isinstance(score, Body) or not isinstance(block_mask, tuple):
        return None
    *_, rows, columns, mask = block_mask
    changes = score.result != Ref(score.program.inputs[0].name)
    args: list[Arg] = [query, key, value]
    args += [score, score_free] if changes else [None, ()]
    args += [mask, mask_free] if masked else [None, ()]
    kwargs: list[tuple[str, Arg]] = [("scale", scale)] if scaled else []
    if _heads(query, program) != _heads(key, program):
        kwargs.append(("enable_gqa", True))
    if masked and (rows, columns) != (BLOCK, BLOCK):
        kwargs.append(("BLOCK_SIZE", (rows, columns)))
    spec = node.spec.items[0] if isinstance(node.spec, Sequence) else node.spec
    return replace(node, target=FLEX_ATTENTION, args=tuple(args), kwargs=tuple(kwargs), spec=spec)


def _heads(arg: Arg, program: Program) -> int | None:
    spec = program.by_name[arg.name].spec if isinstance(arg, Ref) else None
    return spec.shape[1] if isinstance(spec, Tensor) and len(spec.shape) > 1 else None


def _is_first(user: Node, node: Node) -> bool:
    return user.target == "operator.getitem" and user.args == (Ref(node.name), 0)
