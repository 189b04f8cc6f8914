"""What tracing `torch.vmap` leaves in a graph becomes one call of it again.

Dynamo traces through `torch.vmap`: it enters a level, marks the operands as batched, records the
calls of the function and takes the marks off the results. Only whole is this something that can be
cut or written, so that it becomes a call of ``torch.vmap`` over a body.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torchcrux.emit.bodies import VMAP
from torchcrux.program import spec as specs
from torchcrux.program.ir import Arg, Body, Node, Op, Program, Ref

_ENTER, _LEAVE = "_vmap_increment_nesting", "_vmap_decrement_nesting"
_MARK, _UNMARK = "_add_batch_dim", "_remove_batch_dim"
_NOTHING = "lazy_load_decompositions"


def joined(inputs: Sequence[Node], nodes: Sequence[Node]) -> list[Node]:
    """`nodes` with the calls of each level of `torch.vmap` joined; `inputs` are known before."""
    if not any(is_call(node, _ENTER) for node in nodes):
        return list(nodes)
    return _joined({node.name: node for node in inputs}, list(nodes))


def is_call(node: Node, name: str) -> bool:
    return node.op is Op.FUNCTION and node.target.endswith("." + name)


def _joined(known: dict[str, Node], nodes: list[Node]) -> list[Node]:
    done: list[Node] = []
    i = 0
    while i < len(nodes):
        node = nodes[i]
        end = _end(nodes, i) if is_call(node, _ENTER) else None
        if end is not None:
            made = call(known, node, _joined(dict(known), nodes[i + 1 : end]))
            done += made
            known.update((one.name, one) for one in made)
            i = end + 1
            continue
        if not is_call(node, _NOTHING):
            done.append(node)
            known[node.name] = node
        i += 1
    return done


def _end(nodes: list[Node], start: int) -> int | None:
    """Where the level that is entered at `start` is left; None if it is not left in this graph."""
    depth = 0
    for i in range(start, len(nodes)):
        depth += is_call(nodes[i], _ENTER) - is_call(nodes[i], _LEAVE)
        if depth == 0:
            return i
    return None


def call(known: dict[str, Node], enter: Node, nodes: list[Node]) -> list[Node]:
    """The call of `torch.vmap` for one level, and the items of what it returns."""
    marks = [node for node in nodes if is_call(node, _MARK)]
    unmarks = [node for node in nodes if is_call(node, _UNMARK)]
    calls = [node for node in nodes if not is_call(node, _MARK) and not is_call(node, _UNMARK)]
    own = {node.name for node in (*marks, *calls)}
    results: list[Any] = [node.args[0] for node in unmarks]
    whole = Node("", Op.FUNCTION, args=(results,))
    free = dict.fromkeys(
        name for node in (*calls, whole) for name in node.references() if name not in own
    )
    inputs = [Node(node.name, Op.INPUT, spec=node.spec, origin=node.origin) for node in marks] + [
        Node(name, Op.INPUT, spec=known[name].spec) for name in free if name in known
    ]
    outside = len(enter.regions)
    calls = [replace(node, regions=node.regions[outside:]) for node in calls]
    returned: Arg = results[0] if len(results) == 1 else tuple(results)
    program = Program((*inputs, *calls), whole.references())
    operands = (*(node.args[0] for node in marks), *(Ref(name) for name in free))
    dims = (*(node.args[1] for node in marks), *(None for _ in free))
    call = Node(
        enter.name,
        Op.FUNCTION,
        VMAP,
        (Body(program, returned), *operands),
        _keywords(dims, tuple(node.args[3] for node in unmarks), enter.args[1:]),
        regions=enter.regions,
        origin=next((node.origin for node in unmarks), enter.origin),
        obstacle=next((node.obstacle for node in calls if node.obstacle), None),
    )
    if len(unmarks) == 1:
        return [replace(call, name=unmarks[0].name, spec=unmarks[0].spec)]
    items = tuple(node.spec or specs.Opaque("unknown") for node in unmarks)
    return [
        replace(call, spec=specs.Sequence(items)),
        *(
            replace(node, target="operator.getitem", args=(Ref(call.name), i), kwargs=())
            for i, node in enumerate(unmarks)
        ),
    ]


def _keywords(
    into: tuple[Arg, ...], out: tuple[Arg, ...], randomness: tuple[Arg, ...]
) -> tuple[tuple[str, Arg], ...]:
    """The arguments of `torch.vmap` that differ from their defaults."""
    keywords: list[tuple[str, Arg]] = []
    if any(dim != 0 for dim in into):
        keywords.append(("in_dims", into))
    if any(dim != 0 for dim in out):
        keywords.append(("out_dims", out[0] if len(set(out)) == 1 else out))
    if randomness and randomness[0] != "error":
        keywords.append(("randomness", randomness[0]))
    return tuple(keywords)
