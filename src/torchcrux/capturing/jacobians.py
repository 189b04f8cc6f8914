"""What tracing `torch.func.jacrev` and `jacfwd` leaves in a graph becomes one call of each again.

Both are a basis, a `torch.vmap` of one `vjp` or `jvp` over it, and a change of shape. Only the
plain form of one argument, one result and one chunk is known; others stay as they are.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from torchcrux.emit.bodies import CALL, JACFWD, JACREV, JVP, VJP, VMAP
from torchcrux.program.ir import Arg, Body, Node, Ref

_OFFSETS = ["tensor", "cumsum", "getitem", "neg", "unbind"]


def folded(nodes: Sequence[Node], outputs: Collection[str]) -> list[Node]:
    """`nodes` with each Jacobian as one call; `outputs` are used by what is not in `nodes`."""
    if not any(node.target == VMAP for node in nodes):
        return list(nodes)
    for node in nodes:
        if node.target == VMAP:
            found = _Folding(nodes, frozenset(outputs)).of(node)
            if found is not None:
                return folded(found, outputs)
    return list(nodes)


@dataclass
class _Folding:
    nodes: Sequence[Node]
    outputs: frozenset[str]
    inside: set[str] = field(default_factory=set)

    def of(self, mapped: Node) -> list[Node] | None:
        """The nodes with the Jacobian that `mapped` computes, if it computes one."""
        by_name = {node.name: node for node in self.nodes}
        body, *operands = mapped.args
        if not isinstance(body, Body) or len(operands) < 1 or not isinstance(operands[0], Ref):
            return None
        basis = by_name.get(operands[0].name)
        if basis is None or not self._is_basis(basis, by_name) or not _is_over_first(mapped):
            return None
        calls = body.program.calls
        if [node.target for node in calls] == [CALL, "operator.getitem"]:
            made, shaping = self._reverse(mapped, by_name), ["split", "getitem", "view"]
        elif calls and calls[0].target == JVP:
            made, shaping = self._forward(mapped), ["movedim", "split", "getitem", "unflatten"]
        else:
            return None
        last = mapped
        for name in shaping:
            self.inside.add(last.name)
            users = self._users(last.name)
            if len(users) != 1 or _bare(users[0]) != name:
                return None
            (last,) = users
        used_elsewhere = {
            ref for node in self.nodes if node.name not in self.inside for ref in node.references()
        } - set(last.references())
        if made is None or self.inside & (used_elsewhere | self.outputs):
            return None
        whole = replace(made, name=last.name, spec=last.spec, origin=mapped.origin)
        kept = [node for node in self.nodes if node.name not in self.inside]
        return [whole if node is last else node for node in kept]

    def _is_basis(self, basis: Node, by_name: dict[str, Node]) -> bool:
        """Whether it is the identity, filled in on the diagonal of zeros."""
        zeros = by_name.get((*basis.references(), "")[0])
        if _bare(basis) != "view" or zeros is None or _bare(zeros) != "new_zeros":
            return False
        diagonal = [node for node in self._users(zeros.name) if node is not basis]
        if [_bare(node) for node in diagonal] != ["diagonal"]:
            return False
        filled = self._users(diagonal[0].name)
        if [_bare(node) for node in filled] != ["fill_"] or self._users(filled[0].name):
            return False
        self.inside.update(n.name for n in (basis, zeros, *diagonal, *filled))
        self.inside.update(self._offsets(zeros))
        return True

    def _offsets(self, zeros: Node) -> list[str]:
        """Where diagonals start, which torch 2.11 and older compute before the `zeros`: tensors,
        of which nobody uses anything where there is one diagonal."""
        at = self.nodes.index(zeros)
        chain = self.nodes[max(0, at - len(_OFFSETS)) : at]
        names = [node.name for node in chain]
        uses = [[user.name for user in self._users(name)] for name in names]
        follow = uses == [[name] for name in names[1:]] + [[]]
        return names if [_bare(node) for node in chain] == _OFFSETS and follow else []

    def _reverse(self, mapped: Node, by_name: dict[str, Node]) -> Node | None:
        if len(mapped.args) != 3 or not isinstance(mapped.args[2], Ref):
            return None
        function = by_name.get(mapped.args[2].name)
        pair = by_name.get((*function.references(), "")[0]) if function else None
        if function is None or pair is None or pair.target != VJP:
            return None
        body, primals, free = pair.args
        if not isinstance(primals, tuple) or len(primals) != 1 or not isinstance(free, tuple):
            return None
        if not isinstance(body, Body) or not isinstance(body.result, Ref):
            return None
        self.inside.update([pair.name, *(node.name for node in self._users(pair.name))])
        return replace(pair, target=JACREV, args=(body, *primals, *free))

    def _forward(self, mapped: Node) -> Node | None:
        outer, *operands = mapped.args
        assert isinstance(outer, Body)
        pair, *items = outer.program.calls
        body, primals, tangents, free = pair.args
        given = dict(zip([n.name for n in outer.program.inputs], operands, strict=True))
        tangent, *_ = given
        result = next((n for n in items if n.args[1:] == (1,)), None)
        if any(_bare(node) != "getitem" for node in items) or result is None:
            return None
        if outer.result != Ref(result.name) or tangents != (Ref(tangent),):
            return None
        if not isinstance(primals, tuple) or len(primals) != 1 or not isinstance(free, tuple):
            return None
        if not isinstance(body, Body) or not isinstance(body.result, Ref):
            return None
        arguments: list[Arg] = []
        for ref in (*primals, *free):
            if not isinstance(ref, Ref) or ref.name not in given or ref.name == tangent:
                return None
            arguments.append(given[ref.name])
        return replace(mapped, target=JACFWD, args=(body, *arguments), kwargs=())

    def _users(self, name: str) -> list[Node]:
        return [node for node in self.nodes if name in node.references()]


def _is_over_first(mapped: Node) -> bool:
    """Whether only the first operand is mapped, over its first dimension, into the first."""
    over = dict(mapped.kwargs).get("in_dims", (0,))
    plain = set(dict(mapped.kwargs)) <= {"in_dims"}
    return plain and isinstance(over, tuple) and over[0] == 0 and set(over[1:]) <= {None}


def _bare(node: Node) -> str:
    return node.target.rpartition(".")[2]
