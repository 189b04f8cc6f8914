"""Of several smaller numbers that make a failure go away, the nearest: it says the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torchcrux.oracle.judge import Verdict
from torchcrux.passes import Edit
from torchcrux.passes.arguments import SetArgument
from torchcrux.passes.sizes import Resize


def nearest(asked: Sequence[tuple[Edit, Verdict]]) -> list[tuple[Edit, Verdict]]:
    """`asked` without the edits that pass and only go farther than another one that passes."""
    best: dict[Any, tuple[float, Edit]] = {}
    for edit, verdict in asked:
        found = _number(edit) if verdict is Verdict.PASSES else None
        if found is not None:
            key, distance = found
            if key not in best or distance < best[key][0]:
                best[key] = distance, edit
    kept = {id(edit) for _, edit in best.values()}
    return [
        (edit, verdict)
        for edit, verdict in asked
        if verdict is not Verdict.PASSES or _number(edit) is None or id(edit) in kept
    ]


def _number(edit: Edit) -> tuple[Any, float] | None:
    """What number an edit changes, and how far; None if it is about no number."""
    match edit:
        case Resize(leader=leader, old=old, new=new):
            return leader, abs(old - new)
        case SetArgument(place=place, old=int() | float() as old, new=int() | float() as new):
            return place, abs(old - new)
    return None
