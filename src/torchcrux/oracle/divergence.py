"""Where numbers go wrong first: a hint, from one run that compares all values of a program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torchcrux.emit.random import writes
from torchcrux.oracle.failure import Kind
from torchcrux.passes.base import Draft
from torchcrux.program.ir import Node, Op, Ref
from torchcrux.program.spec import Tensor

MOST_ELEMENTS = 2**25
"""Of all values together; they are held three times."""


def with_all_values(draft: Draft) -> tuple[Draft, tuple[str, ...]] | None:
    """`draft` that returns what each of its calls computes, and the names of these calls; None if
    that is too much. Where values may be written to later, they are copied at once."""
    calls = [
        node for node in draft.program.calls if isinstance(node.spec, Tensor) and not node.obstacle
    ]
    elements = sum(node.spec.elements for node in calls if isinstance(node.spec, Tensor))
    if not calls or elements > MOST_ELEMENTS:
        return None
    names = tuple(node.name for node in calls)
    program = replace(draft.program, outputs=names)
    if any(writes(node) for node in draft.program.calls):
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
    return replace(draft, program=program), names


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
    from torchcrux.oracle.data import lay_data
    from torchcrux.oracle.judge import execute, unjustified

    path = Path.cwd() / "repro.py"
    path.write_text(payload["text"], encoding="utf-8")
    lay_data(path.parent, payload.get("data", {}))
    namespace, failure = execute(payload["text"], path)
    if failure is None or failure.kind is not Kind.ACCURACY:
        return {"index": None}
    mismatch = unjustified(namespace, backward=False)
    return {"index": None if mismatch is None or mismatch.index < 0 else mismatch.index}
