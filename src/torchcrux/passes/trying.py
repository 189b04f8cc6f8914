"""Passes whose edits are tried in eager first, and passes that search by themselves.

Eager runs of a few calls are next to free, so an edit that eager refuses is never asked.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Protocol, TypeAlias, runtime_checkable

from torchcrux.passes.base import Draft, Edit

Runs: TypeAlias = Callable[[Sequence[Draft]], Sequence[Draft | None]]
"""Each draft with what eager computes in it, or None where eager refuses it."""

Asking: TypeAlias = Generator[list[Draft], Sequence[bool], Draft]
"""Yields a round of drafts; receives for each whether it still fails; returns the best."""


class TriedFirst:
    """A pass that lists edits freely: those that eager refuses are left out without a question."""


@runtime_checkable
class Searching(Protocol):
    """A pass that chooses among many values of few things, and so asks by itself."""

    name: str
    summary: str
    example: str

    def edits(self, draft: Draft) -> Iterator[Edit]:
        """None: what there is to change, only eager can tell."""
        ...

    def search(self, draft: Draft, runs: Runs) -> Asking:
        """Make `draft`, which fails, simpler."""
        ...

    def neighbours(self, draft: Draft, runs: Runs) -> list[Edit]:
        """The single edits of a draft in which nothing more is found: its certificate."""
        ...


def first_that_runs(drafts: Sequence[Draft], runs: Runs) -> tuple[int, Draft] | None:
    for i, found in enumerate(runs(drafts)):
        if found is not None:
            return i, found
    return None


def changed(draft: Draft, edits: Sequence[Edit]) -> Draft:
    for edit in edits:
        draft = edit.apply(draft)
    return draft


def merged(draft: Draft, edits: Sequence[Edit], runs: Runs) -> Asking:
    """Apply `edits`, each of which fails on its own: all together, else half after half."""
    together = runs([changed(draft, edits)])[0]
    if together is not None and together != draft and (yield [together])[0]:
        return together
    if len(edits) < 2:
        return draft
    half = len(edits) // 2
    draft = yield from merged(draft, edits[:half], runs)
    return (yield from merged(draft, edits[half:], runs))
