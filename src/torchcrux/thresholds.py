"""Of several numbers that make a failure go away, the nearest; and from where on it fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torchcrux.oracle.judge import Verdict
from torchcrux.passes import Draft, Edit
from torchcrux.passes.arguments import SetArgument
from torchcrux.passes.sizes import Resize
from torchcrux.passes.trying import Runs
from torchcrux.program.dimensions import assigned, sizes

LEAST = 3
"""Of a smaller size it goes without saying that it is the smallest that fails."""

Asked = Sequence[tuple[Edit, Verdict]]


def nearest(asked: Asked) -> list[tuple[Edit, Verdict]]:
    """`asked` without the edits of one number that go farther than another one to the same end."""
    best: dict[Any, tuple[float, Edit]] = {}
    for edit, verdict in asked:
        found = None if verdict is Verdict.SAME else _number(edit)
        if found is not None:
            key, distance = (found[0], verdict), found[1]
            if key not in best or distance < best[key][0]:
                best[key] = distance, edit
    kept = {id(edit) for _, edit in best.values()}
    return [
        (edit, verdict)
        for edit, verdict in asked
        if verdict is Verdict.SAME or _number(edit) is None or id(edit) in kept
    ]


def has_bounds(edit: Edit) -> bool:
    return isinstance(edit, Resize) and edit.old >= LEAST


def bounds(edit: Edit, asked: Asked, doubled: Verdict | None = None) -> str:
    """Where the failure begins, in words, as far as it was `asked`; empty if `edit` says it all.
    `doubled` is the verdict on twice the size that is left."""
    if not (isinstance(edit, Resize) and has_bounds(edit)):
        return ""
    told = {
        one.new: verdict
        for one, verdict in asked
        if isinstance(one, Resize) and one.leader == edit.leader
    }
    if doubled is not None:
        told[2 * edit.old] = doubled
    fails = sorted({edit.old, *(n for n, verdict in told.items() if verdict is Verdict.SAME)})
    passes = sorted((n for n, v in told.items() if v is Verdict.PASSES), reverse=True)
    plain = all(n < edit.old for n in passes) and Verdict.DIFFERENT not in told.values()
    if plain and passes[:1] == [edit.old - 1]:
        return f"fails from {edit.old}, passes up to {edit.old - 1}"
    return f"fails with {_listed(fails)}, passes with {_listed(passes)}"


def twice(draft: Draft, edit: Edit, runs: Runs) -> Draft | None:
    """`draft` with twice of each size that `edit` makes smaller; None if eager refuses that."""
    if not isinstance(edit, Resize):
        return None
    have = sizes(draft.program)
    changes = {place: 2 * have[place] for place, _ in edit.changes}
    return runs([replace(draft, program=assigned(draft.program, changes))])[0]


def _listed(numbers: Sequence[int]) -> str:
    words = [*map(str, numbers)]
    return " and ".join([", ".join(words[:-1]), words[-1]][len(words) < 2 :])


def _number(edit: Edit) -> tuple[Any, float] | None:
    """What number an edit changes, and how far; None if it is about no number."""
    match edit:
        case Resize(leader=leader, old=old, new=new):
            return leader, abs(old - new)
        case SetArgument(place=place, old=int() | float() as old, new=int() | float() as new):
            return place, abs(old - new)
    return None
