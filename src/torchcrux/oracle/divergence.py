"""Where numbers go wrong first: a hint, from one run that compares all values of a program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torchcrux.oracle.failure import Kind
from torchcrux.passes.base import Draft
from torchcrux.program.spec import Tensor

MOST_ELEMENTS = 2**25
"""Of all values together; they are held three times."""


def with_all_values(draft: Draft) -> Draft | None:
    """`draft` that returns what each of its calls computes; None if that is too much."""
    computed = {
        node.name: node.spec.elements
        for node in draft.program.calls
        if isinstance(node.spec, Tensor) and node.obstacle is None
    }
    if not computed or sum(computed.values()) > MOST_ELEMENTS:
        return None
    return replace(draft, program=replace(draft.program, outputs=tuple(computed)))


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
