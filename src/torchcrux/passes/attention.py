"""`flex_attention` as a user calls it, in place of the operator that it comes down to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torchcrux.emit.bodies import FLEX_ATTENTION, HIGHER_ORDER
from torchcrux.passes.base import Draft, Edit
from torchcrux.passes.trying import TriedFirst
from torchcrux.program.ir import Arg, Body, Node, Program, Ref
from torchcrux.program.literals import substituted, tidied
from torchcrux.program.spec import Sequence

OPERATOR = f"{HIGHER_ORDER}flex_attention"


@dataclass(frozen=True, slots=True)
class Unmasked:
    """Call the public function where `node` has called the operator: without a mask, without the
    options of its kernels, and with its own scale unless it is `scaled` as the operator was."""

    node: str
    scaled: bool

    def apply(self, draft: Draft) -> Draft:
        program = draft.program
        node = program.by_name.get(self.node)
        public = None if node is None else _public(node, self.scaled)
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
        return f"{self.node} without a mask"


class Attention(TriedFirst):
    name = "attention"
    summary = "flex_attention as a user calls it, without a mask"
    example = "torch.ops.higher_order.flex_attention(...)  ->  flex_attention(q, k, v, score_mod)"

    def edits(self, draft: Draft) -> Iterator[Edit]:
        for node in draft.program.calls:
            if _public(node, scaled=True) is not None:
                yield Unmasked(node.name, scaled=False)
                yield Unmasked(node.name, scaled=True)


def _public(node: Node, scaled: bool) -> Node | None:
    if node.target != OPERATOR or node.obstacle is not None or len(node.args) < 8:
        return None
    query, key, value, score, _, scale, _, free = node.args[:8]
    if not isinstance(score, Body):
        return None
    changes = score.result != Ref(score.program.inputs[0].name)
    args: list[Arg] = [query, key, value, *([score, free] if changes else [])]
    kwargs = (("scale", scale),) if scaled else ()
    spec = node.spec.items[0] if isinstance(node.spec, Sequence) else node.spec
    return replace(node, target=FLEX_ATTENTION, args=tuple(args), kwargs=kwargs, spec=spec)


def _is_first(user: Node, node: Node) -> bool:
    return user.target == "operator.getitem" and user.args == (Ref(node.name), 0)
