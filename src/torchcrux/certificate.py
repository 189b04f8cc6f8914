"""What is known of a reduced draft in the end: the single changes with which it fails no more."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from torchcrux.explain.words import Words, says_much
from torchcrux.oracle.answer import Answer
from torchcrux.oracle.judge import Verdict
from torchcrux.passes import Draft, Edit
from torchcrux.passes.context import SetContext
from torchcrux.passes.data import Round
from torchcrux.passes.dtype import Cast
from torchcrux.passes.inputs import Fill, PlainInput, SetValue
from torchcrux.passes.parts import Part
from torchcrux.passes.sizes import Resize
from torchcrux.passes.trying import Runs
from torchcrux.program.dimensions import is_dimension
from torchcrux.program.literals import Place
from torchcrux.thresholds import Asked, bounds, has_bounds, nearest, twice

_DOUBLED = 2
"""So many sizes are asked about their double at most."""


@dataclass(frozen=True, slots=True)
class Necessary:
    """A single further edit and what it led to: why the thing it removes is there. `changed` is
    what it made of the draft."""

    change: str
    verdict: Verdict
    edit: Edit
    changed: Draft | None = None


@dataclass(frozen=True, slots=True)
class Certificate:
    """`asked` are all edits and verdicts, `entries` those that say something."""

    draft: Draft
    asked: Asked = ()
    entries: tuple[Necessary, ...] = ()

    @property
    def minimal(self) -> bool:
        return not any(one.verdict is Verdict.SAME for one in self.entries)

    @property
    def sized(self) -> list[Resize]:
        """Edits of the sizes that are the smallest that fail."""
        return [
            one.edit
            for one in self.entries
            if isinstance(one.edit, Resize)
            and one.verdict is Verdict.PASSES
            and has_bounds(one.edit)
        ][:_DOUBLED]

    def inputs_of(self, leaders: Collection[Place]) -> frozenset[str]:
        """The inputs whose sizes change with these."""
        return frozenset(
            place.node
            for edit in self.sized
            if edit.leader in leaders
            for place, _ in edit.changes
            if is_dimension(place)
        )

    def larger(self, runs: Runs) -> dict[Place, Draft]:
        """The draft with twice of each of these sizes, where eager takes that: whether it fails as
        well tells a threshold from a size that is special."""
        found = {edit.leader: twice(self.draft, edit, runs) for edit in self.sized}
        return {leader: one for leader, one in found.items() if one is not None}

    def with_larger(self, told: Mapping[Place, Verdict]) -> Certificate:
        """With words for where the failure begins, given the verdicts on larger drafts."""
        return replace(self, entries=tuple(self._bounded(one, told) for one in self.entries))

    def _bounded(self, one: Necessary, doubled: Mapping[Place, Verdict]) -> Necessary:
        if not isinstance(one.edit, Resize) or one.verdict is not Verdict.PASSES:
            return one
        words = bounds(one.edit, self.asked, doubled.get(one.edit.leader))
        return replace(one, change=f"{one.change} ({words})") if words else one

    def told(self, near: Sequence[str]) -> list[tuple[str, str]]:
        """Changes and verdicts, those in `near` as well, with which it passes."""
        told = (one for one in self.entries if one.verdict is not Verdict.SAME)
        found = [(one.change, one.verdict.value) for one in told]
        return [*dict.fromkeys([*found, *((change, Verdict.PASSES.value) for change in near)])]

    def telling(self) -> list[str]:
        """The changes that a reader would not think of by himself, with which it passes: where it
        begins to fail first; those of data, which are many, and of gradients, last."""
        passing = [one for one in self.entries if one.verdict is Verdict.PASSES]
        singly = any(isinstance(one.edit, Cast) and one.edit.name for one in passing)
        told = [
            one.change
            for one in sorted(passing, key=lambda one: _rank(one.edit))
            if says_much(one.edit)
            and not (singly and isinstance(one.edit, Cast) and not one.edit.name)
        ]
        least = [one for one in told if not any(other in one for other in told if other != one)]
        instead = {one.partition(" instead of ")[2] or one: one for one in least}
        return [*instead.values()]  # of several for the same, the last, which changes a number


def _rank(edit: Edit) -> int:
    match edit:
        case SetContext(field="backward") | PlainInput(requires_grad=False):
            return 2
        case SetValue() | Fill() | Part() | Round():
            return 1
    return -has_bounds(edit)


def certificate(draft: Draft, asked: Sequence[tuple[Edit, Draft | None, Answer]]) -> Certificate:
    """Of edits, what they made of `draft`, and the answers. What is excused is no answer."""
    told = [
        (edit, answer.verdict)
        for edit, _, answer in asked
        if answer.verdict in (Verdict.SAME, Verdict.DIFFERENT)
        or (answer.verdict is Verdict.PASSES and not answer.reason)
    ]
    made = {id(edit): changed for edit, changed, _ in asked}
    words = Words(draft)
    entries: dict[tuple[str, Verdict], Necessary] = {}
    for edit, verdict in nearest(told):
        changed = made[id(edit)]
        change = words.of(edit, changed)
        entries.setdefault((change, verdict), Necessary(change, verdict, edit, changed))
    return Certificate(draft, tuple(told), tuple(entries.values()))
