"""What tracing `torch.func` leaves in a graph becomes one call of each transform again.

Dynamo traces through `grad`, `vjp`, `jvp` and `vmap`: it enters a level, wraps what is
differentiated, records the calls of the function, asks for gradients and unwraps the results. Only
whole is this something that can be cut or written as a user writes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torchcrux.capturing import vmap
from torchcrux.capturing.jacobians import folded
from torchcrux.capturing.vmap import is_call
from torchcrux.emit.bodies import CALL, GRAD, GRAD_AND_VALUE, JVP, VJP
from torchcrux.program import spec as specs
from torchcrux.program.ir import Arg, Body, Node, Op, Program, Ref

_LEVELS = {
    "_vmap_increment_nesting": "_vmap_decrement_nesting",
    "_grad_increment_nesting": "_grad_decrement_nesting",
    "_jvp_increment_nesting": "_jvp_decrement_nesting",
}
_AROUND = frozenset({
    "lazy_load_decompositions", "_maybe_load_decompositions", "_saved_tensors_hooks_disable",
    "_saved_tensors_hooks_enable", "set_inplace_requires_grad_allowed", "_set_fwd_grad_enabled",
    "_enter_dual_level", "_exit_dual_level",
})  # fmt: skip
"""What the transforms do by themselves when they are called."""

_WRAP, _UNWRAP, _MARK = "_wrap_for_grad", "_unwrap_for_grad", "_set_tensor_requires_grad"
_GRADIENT, _DUAL, _PARTS = "_autograd_grad", "_make_dual", "_unpack_dual"
_OWN = (_WRAP, _UNWRAP, _MARK, _GRADIENT, _DUAL, _PARTS)


class Unjoined(Exception):
    """A level is not one call of a transform."""


def joined(inputs: Sequence[Node], nodes: Sequence[Node], outputs: Sequence[str]) -> list[Node]:
    """`nodes` with the calls of each level joined. Where that cannot be, at least those of
    `torch.vmap`."""
    if not any(_name(node) in _LEVELS for node in nodes):
        return list(nodes)
    try:
        joining = _Joining({node.name: node for node in (*inputs, *nodes)}, frozenset(outputs))
        return folded(joining.run(list(nodes)), outputs)
    except Unjoined:
        return vmap.joined(inputs, nodes)


def _name(node: Node) -> str:
    return node.target.rpartition(".")[2] if node.op is Op.FUNCTION else ""


@dataclass
class _Pull:
    """A function that `vjp` returned: what is differentiated, with respect to what."""

    outputs: tuple[str, ...]
    primals: tuple[str, ...]
    function: str


@dataclass
class _Joining:
    known: dict[str, Node]
    outputs: frozenset[str]
    pulls: list[_Pull] = field(default_factory=list)
    same: dict[str, str] = field(default_factory=dict)
    """A wrapped tensor that was marked is the one that was wrapped."""

    def run(self, nodes: list[Node]) -> list[Node]:
        done: list[Node] = []
        i = 0
        while i < len(nodes):
            node, made, end = nodes[i], None, i
            name = _name(node)
            if name in _LEVELS:
                end = _end(nodes, i)
                inside, after = nodes[i + 1 : end], nodes[end + 1 :]
                made = self._level(node, inside, after)
            elif name == _GRADIENT:
                made = [self._pulled(node)]
            elif name in _OWN:
                raise Unjoined
            done += [node] if made is None and name not in _AROUND else made or []
            self.known.update((one.name, one) for one in made or ())
            i = end + 1
        return done

    def _level(self, enter: Node, inside: list[Node], after: list[Node]) -> list[Node]:
        used = {name for node in after for name in node.references()} | self.outputs
        if is_call(enter, "_vmap_increment_nesting"):
            return vmap.call(self.known, enter, folded(self.run(inside), ()))
        if is_call(enter, "_jvp_increment_nesting"):
            return self._jvp(enter, inside)
        gradients = [node for node in inside if self._is_of_this_level(node, inside)]
        if len(gradients) == 1:
            return self._grad(enter, inside, gradients[0], used)
        if gradients:
            raise Unjoined
        return self._vjp(enter, inside)

    def _is_of_this_level(self, node: Node, inside: list[Node]) -> bool:
        """Whether `node` asks for the gradients of what this level has wrapped."""
        if _name(node) != _GRADIENT:
            return False
        return node in _direct(inside) and not self._known_pull(node)

    def _wrapped(self, inside: list[Node]) -> tuple[list[Node], list[Node], list[Node]]:
        """The tensors that are differentiated, those that are only wrapped, and what is left."""
        direct = _direct(inside)
        wraps = [node for node in direct if _name(node) == _WRAP]
        marks = [node for node in direct if _name(node) == _MARK]
        marked = {ref for node in marks for ref in node.references()}
        self.same.update((node.name, node.references()[0]) for node in marks)
        rest = [n for n in inside if n not in wraps and n not in marks]
        primals = [node for node in wraps if node.name in marked]
        return primals, [node for node in wraps if node.name not in marked], rest

    def _grad(self, enter: Node, inside: list[Node], gradient: Node, used: set[str]) -> list[Node]:
        primals, wrapped, rest = self._wrapped(inside)
        place = rest.index(gradient)
        (output,) = gradient.references()[:1]
        wanted = [self._plain(name) for name in _names(gradient.args[1])]
        if wanted != [node.name for node in primals]:
            raise Unjoined
        items = {n.name: n.args[1] for n in rest[place:] if n.args[:1] == (Ref(gradient.name),)}
        unwraps = [node for node in rest[place:] if _name(node) == _UNWRAP]
        others = [n for n in rest[place + 1 :] if n.name not in items and n not in unwraps]
        if any(_name(node) not in _AROUND for node in others):
            raise Unjoined
        of_gradients = [node for node in unwraps if node.references()[0] in items]
        further = [n for n in unwraps if n not in of_gradients and n.name in used]
        value = next((node for node in further if node.references()[0] == output), None)
        more = [node for node in further if node is not value]
        operands = [*primals, *wrapped]
        keywords: list[tuple[str, Arg]] = []
        returned: Arg = Ref(output)
        if more:
            auxiliary = [Ref(node.references()[0]) for node in more]
            returned = (returned, auxiliary[0] if len(more) == 1 else tuple(auxiliary))
            keywords.append(("has_aux", True))
        body, free = self._body(operands, self.run(rest[:place]), returned, enter)
        if len(primals) > 1:
            keywords.append(("argnums", tuple(range(len(primals)))))
        found: list[tuple[Node, tuple[int, ...]]] = []
        for node in of_gradients:
            at = items[node.references()[0]]
            path = (at,) if isinstance(at, int) and len(primals) > 1 else ()
            found.append((node, ((0, *path) if further else path)))
        if value is not None:
            found.append((value, (1, 0) if more else (1,)))
        for i, node in enumerate(more):
            path = (i,) if len(more) > 1 else ()
            found.append((node, (1, 1, *path) if value is not None else (1, *path)))
        call = Node(
            enter.name,
            Op.FUNCTION,
            GRAD if value is None else GRAD_AND_VALUE,
            (body, *(node.args[0] for node in operands), *map(Ref, free)),
            tuple(keywords),
        )
        return _with_items(self._finished(call, enter, body), found)

    def _vjp(self, enter: Node, inside: list[Node]) -> list[Node]:
        primals, wrapped, rest = self._wrapped(inside)
        unwraps = [node for node in _direct(rest) if _name(node) == _UNWRAP]
        calls = self.run([node for node in rest if node not in unwraps])
        results = [node.references()[0] for node in unwraps]
        if not primals or not results:
            raise Unjoined
        returned: Arg = Ref(results[0]) if len(results) == 1 else tuple(map(Ref, results))
        body, free = self._body([*primals, *wrapped], calls, returned, enter)
        outer = (*(node.args[0] for node in wrapped), *map(Ref, free))
        call = Node(enter.name, Op.FUNCTION, VJP, (body, tuple(n.args[0] for n in primals), outer))
        function = f"{enter.name}_fn"
        pull = Node(
            function, Op.FUNCTION, "operator.getitem", spec=specs.Opaque("a function of vjp")
        )
        self.pulls.append(_Pull(tuple(results), tuple(n.name for n in primals), function))
        found: list[tuple[Node, tuple[int, ...]]] = [
            (node, (0,) if len(results) == 1 else (0, i)) for i, node in enumerate(unwraps)
        ]
        return _with_items(self._finished(call, enter, body), [*found, (pull, (1,))])

    def _jvp(self, enter: Node, inside: list[Node]) -> list[Node]:
        _, wrapped, inside = self._wrapped(inside)
        duals = [node for node in _direct(inside) if _name(node) == _DUAL]
        parts = [node for node in _direct(inside) if _name(node) == _PARTS]
        if not duals or len(parts) != 1:
            raise Unjoined
        (result,) = parts[0].references()
        place = inside.index(parts[0])
        items = {n.name: n.args[1] for n in inside[place:] if n.args[:1] == (Ref(parts[0].name),)}
        unwraps = [node for node in inside[place:] if _name(node) == _UNWRAP]
        others = [n for n in inside[place + 1 :] if n.name not in items and n not in unwraps]
        if any(_name(n) not in _AROUND for n in others):
            raise Unjoined
        calls = self.run([node for node in inside[:place] if node not in duals])
        used = {name for node in calls for name in node.references()}
        given = [node for node in wrapped if node.name in used]
        body, free = self._body([*duals, *given], calls, Ref(result), enter)
        primals, tangents = (tuple(node.args[i] for node in duals) for i in (0, 1))
        outer = (*(node.args[0] for node in given), *map(Ref, free))
        call = Node(enter.name, Op.FUNCTION, JVP, (body, primals, tangents, outer))
        found: list[tuple[Node, tuple[int, ...]]] = []
        for node in unwraps:
            at = items.get(node.references()[0])
            if not isinstance(at, int):
                raise Unjoined
            found.append((node, (at,)))
        return _with_items(self._finished(call, enter, body), found)

    def _body(
        self, operands: Sequence[Node], calls: list[Node], returned: Arg, enter: Node
    ) -> tuple[Body, list[str]]:
        """The function of a transform, and the values that it uses without being given them."""
        whole = Node("", Op.FUNCTION, args=(returned,))
        calls = folded(calls, whole.references())
        own = {node.name for node in (*operands, *calls)}
        used = dict.fromkeys(name for node in (*calls, whole) for name in node.references())
        free = [name for name in used if name not in own]
        if any(name not in self.known or _name(self.known[name]) in _OWN for name in free):
            raise Unjoined
        inputs = [
            Node(node.name, Op.INPUT, spec=node.spec, origin=node.origin) for node in operands
        ]
        inputs += [Node(name, Op.INPUT, spec=self.known[name].spec) for name in free]
        outside = len(enter.regions)
        bare = [replace(node, regions=node.regions[outside:]) for node in calls]
        return Body(Program((*inputs, *bare), whole.references()), returned), free

    def _finished(self, call: Node, enter: Node, body: Body) -> Node:
        calls = body.program.calls
        return replace(
            call,
            regions=enter.regions,
            origin=next((node.origin for node in reversed(calls) if node.origin), enter.origin),
            obstacle=next((node.obstacle for node in calls if node.obstacle), None),
        )

    def _plain(self, name: str) -> str:
        return self.same.get(name, name)

    def _known_pull(self, node: Node) -> _Pull | None:
        outputs = _names(node.args[0])
        primals = [self._plain(name) for name in _names(node.args[1])]
        for pull in self.pulls:
            if list(pull.outputs) == outputs and list(pull.primals) == primals:
                return pull
        return None

    def _pulled(self, node: Node) -> Node:
        pull = self._known_pull(node)
        if pull is None or len(node.args) < 3:
            raise Unjoined
        cotangents: Any = node.args[2]
        given = tuple(cotangents) if len(pull.outputs) == 1 else (tuple(cotangents),)
        return replace(node, target=CALL, args=(Ref(pull.function), *given), kwargs=())


def _direct(nodes: Sequence[Node]) -> list[Node]:
    """Those of no level inside of this one."""
    found, depth = [], 0
    for node in nodes:
        depth += _name(node) in _LEVELS
        if depth == 0:
            found.append(node)
        depth -= _name(node) in _LEVELS.values()
    return found


def _names(arg: Any) -> list[str]:
    return [item.name for item in arg if isinstance(item, Ref)]


def _end(nodes: list[Node], start: int) -> int:
    """Where the level that is entered at `start` is left."""
    depth = 0
    for i in range(start, len(nodes)):
        depth += (_name(nodes[i]) in _LEVELS) - (_name(nodes[i]) in _LEVELS.values())
        if depth == 0:
            return i
    raise Unjoined


def _with_items(call: Node, found: list[tuple[Node, tuple[int, ...]]]) -> list[Node]:
    """`call`, and the nodes that take the items at these paths of what it returns."""
    if [path for _, path in found] == [()]:
        (node, _), *_ = found
        return [replace(call, name=node.name, spec=node.spec)]
    made = [replace(call, spec=_structure([(path, node.spec) for node, path in found]))]
    for node, path in found:
        of = call.name
        for i, at in enumerate(path):
            last = i == len(path) - 1
            name = node.name if last else f"{of}_{at}"
            if last or all(one.name != name for one in made):
                spec = (
                    node.spec
                    if last
                    else _structure(
                        [(p[i + 1 :], n.spec) for n, p in found if p[: i + 1] == path[: i + 1]]
                    )
                )
                made.append(
                    Node(
                        name,
                        Op.FUNCTION,
                        "operator.getitem",
                        (Ref(of), at),
                        spec=spec,
                        regions=call.regions,
                        origin=call.origin,
                    )
                )
            of = name
    return made


def _structure(found: list[tuple[tuple[int, ...], specs.Spec | None]]) -> specs.Spec:
    """The spec of nested tuples, from those of the items at some paths."""
    for path, spec in found:
        if not path:
            return spec or specs.Opaque("unknown")
    count = 1 + max(path[0] for path, _ in found)
    inner = [[(p[1:], spec) for p, spec in found if p[0] == i] for i in range(count)]
    return specs.Sequence(
        tuple(_structure(one) if one else specs.Opaque("unknown") for one in inner)
    )
