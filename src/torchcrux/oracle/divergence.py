"""Where numbers go wrong first: a hint, from one run that compares all values of a program, or the
gradients of all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from torchcrux.emit.flow import differentiable, targets
from torchcrux.emit.random import writes
from torchcrux.oracle.failure import Kind
from torchcrux.passes.base import Draft
from torchcrux.program.ir import Node, Op, Program, Ref, Value
from torchcrux.program.literals import substituted
from torchcrux.program.spec import Sequence, Tensor, tensors

MOST_ELEMENTS = 2**25
"""Of all values together; they are held three times."""
LARGE, BEGINNING = 32, 4
"""A program of so many calls is large; that part of it is its beginning."""


Suspects: TypeAlias = tuple[str, ...]
"""Names of calls, one of which is at fault."""


View = tuple[Draft, tuple[Suspects, ...]]
"""A draft that shows values, and what is at fault if one of them is the first that is wrong."""


def begun(draft: Draft) -> View | None:
    """How a large program begins, with each value shown: layers repeat, and that compiles sooner.
    None where it is not large, or has a backward pass, which knows no beginning."""
    calls = draft.program.calls
    if len(calls) < LARGE or draft.context.backward:
        return None
    count = len(calls) // BEGINNING
    beginning = replace(draft.program, nodes=(*draft.program.inputs, *calls[:count]))
    return _with_all_values(draft, beginning, 0)


def observed(draft: Draft) -> View | None:
    """`draft` that shows each value, or with a backward pass each gradient, in the order in which
    they are computed; of a large program those with which `begun` does not end. None where that is
    too much, or cannot be had."""
    if draft.context.backward:
        return _with_all_gradients(draft)
    calls = draft.program.calls
    seen = len(calls) // BEGINNING if len(calls) >= LARGE else 0
    return _with_all_values(draft, draft.program, seen)


def _with_all_values(draft: Draft, whole: Program, begin: int) -> View | None:
    """Those of `whole` from its call `begin` on. Where values may be written to later, they are
    copied at once."""
    calls = [
        node for node in whole.calls[begin:] if isinstance(node.spec, Tensor) and not node.obstacle
    ]
    elements = sum(node.spec.elements for node in calls if isinstance(node.spec, Tensor))
    if not calls or elements > MOST_ELEMENTS:
        return None
    names = tuple(node.name for node in calls)
    program = replace(whole, outputs=names)
    if any(writes(node) for node in whole.calls):
        copies = {node.name: _copy(node) for node in calls}
        nodes = [
            one
            for node in program.nodes
            for one in (node, copies.get(node.name))
            if one is not None
        ]
        program = replace(
            program, nodes=tuple(nodes), outputs=tuple(copies[name].name for name in names)
        )
    used = {name for node in program.calls for name in node.references()}
    inputs = [node for node in program.inputs if node.name in used]
    program = replace(program, nodes=(*inputs, *program.calls))
    return replace(draft, program=program), tuple((name,) for name in names)


def _with_all_gradients(draft: Draft) -> View | None:
    """Zeros are added to each value, as inputs whose gradients are those of the values. Gradients
    are computed from the last value to the first; if one is wrong, so is what has used the value.
    """
    program = draft.program
    wanted = differentiable(program).inputs
    shown = [
        node
        for node in program.calls
        if isinstance(node.spec, Tensor) and node.spec.requires_grad and not node.obstacle
    ]
    elements = sum(node.spec.elements for node in shown if isinstance(node.spec, Tensor))
    if (
        elements > MOST_ELEMENTS
        or any(_writes_into_gradients(program, node) for node in program.calls)
        or any(isinstance(node.spec, Sequence) for node in wanted)
    ):
        return None
    added = {node.name: (_zeros(node), _sum(node)) for node in shown}
    changed = substituted(program, {name: node.name for name, (_, node) in added.items()})
    zeros = [one for one, _ in reversed(added.values())]
    calls = [one for node in changed.calls for one in (node, *_after(added, node))]
    users = _users(program, frozenset(added))
    order = (*reversed(added), *(node.name for node in wanted))
    whole = replace(changed, nodes=(*zeros, *program.inputs, *calls))
    return replace(draft, program=whole), tuple(users.get(name, ()) for name in order)


def _writes_into_gradients(program: Program, node: Node) -> bool:
    if not writes(node):
        return False
    written = [program.by_name[name].spec for name in targets(node)]
    return any(one.requires_grad for spec in written for one in tensors(spec))


def _zeros(node: Node) -> Node:
    assert isinstance(node.spec, Tensor)
    spec = Tensor(node.spec.shape, node.spec.dtype, node.spec.device, requires_grad=True)
    return Node(f"{node.name}_zeros", Op.INPUT, spec=spec, value=Value.ZEROS)


def _sum(node: Node) -> Node:
    operands = (Ref(node.name), Ref(f"{node.name}_zeros"))
    spec, regions = node.spec, node.regions
    return Node(f"{node.name}_sum", Op.FUNCTION, "torch.add", operands, spec=spec, regions=regions)


def _after(added: Mapping[str, tuple[Node, Node]], node: Node) -> tuple[Node, ...]:
    return added[node.name][1:] if node.name in added else ()


def _users(program: Program, shown: frozenset[str]) -> dict[str, Suspects]:
    """What uses each value; and what uses that, where its gradient is not shown."""
    users: dict[str, list[str]] = {}
    for node in reversed(program.calls):
        own = [node.name] + ([] if node.name in shown else users.get(node.name, []))
        for name in node.references():
            users.setdefault(name, []).extend(one for one in own if one not in users[name])
    return {name: tuple(found) for name, found in users.items()}


def _copy(node: Node) -> Node:
    return Node(
        f"{node.name}_as_it_was",
        Op.METHOD,
        "clone",
        (Ref(node.name),),
        spec=node.spec,
        regions=node.regions,
    )


def first_difference(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Run ``payload["text"]``, which compares; the index of the first output that is wrong, None if
    none is known to be. To be run in a child."""
    from torchcrux.oracle.compiling import own_compiler
    from torchcrux.oracle.data import lay_data
    from torchcrux.oracle.judge import execute, unjustified

    path = Path.cwd() / "repro.py"
    path.write_text(payload["text"], encoding="utf-8")
    lay_data(path.parent, payload.get("data", {}))
    with own_compiler(payload.get("threads", 1)):
        namespace, failure = execute(payload["text"], path)
    if failure is None or failure.kind is not Kind.ACCURACY:
        return {"index": None}
    mismatch = unjustified(
        namespace, backward=payload.get("backward", False), draws=payload.get("draws", False)
    )
    return {"index": None if mismatch is None or mismatch.index < 0 else mismatch.index}
