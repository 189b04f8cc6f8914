"""Sizes of inputs, and the numbers in calls that follow them, down to the smallest that fail."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeAlias

from torchcrux.core.search.integers import smallest
from torchcrux.passes.base import Draft, Edit
from torchcrux.passes.trying import Asking, Runs, first_that_runs, merged
from torchcrux.program.dimensions import Changes, Follow, assigned, below, is_dimension, sizes
from torchcrux.program.ir import Program
from torchcrux.program.literals import Place
from torchcrux.program.spec import Tensor

FLOORS = (1, 2)
"""Sizes to try for everything at once: the least, and the least that is no broadcast."""

SWEEPS = 3
"""Most rounds over all sizes; each makes some smaller, and later ones seldom do."""

NEAR = 4
"""The next smaller size that eager accepts is looked for among this many."""

WIDTH = 3
"""Numbers of one class in a round; few, since most classes end with the first."""

Key: TypeAlias = tuple[Place, int]


@dataclass(frozen=True)
class Resize:
    """Give sizes that depend on one another new values. `limit`, if set, bounds random integers."""

    leader: Place
    old: int
    new: int
    changes: tuple[tuple[Place, int], ...]
    limit: int | None = None

    def apply(self, draft: Draft) -> Draft:
        have = sizes(draft.program)
        changes = {place: value for place, value in self.changes if place in have}
        program = assigned(draft.program, changes)
        if self.limit is not None:
            program = below(program, self.limit)
        return replace(draft, program=program)

    def __str__(self) -> str:
        names = dict.fromkeys(place.node for place, _ in self.changes if is_dimension(place))
        of = " and ".join([", ".join([*names][:-1]), [*names][-1]][len(names) < 2 :])
        return f"size {self.old} -> {self.new} of {of}"


class Sizes:
    """Sizes that must be equal, or products of one another, shrink together: those that inputs
    have, with the literals in calls that follow."""

    name = "sizes"
    summary = "sizes become 1, 2 or the smallest that fails; literals in calls follow"
    example = "torch.randn(16, 768).view(16, 12, 64)  ->  torch.randn(1, 2).view(1, 1, 2)"
    of_inputs = True

    def edits(self, draft: Draft) -> Iterator[Edit]:
        return iter(())

    def search(self, draft: Draft, runs: Runs) -> Asking:
        """First everything at its least, then each size by itself."""
        least = [squeezed(draft, floor, runs) for floor in FLOORS]
        least = [one for i, one in enumerate(least) if one != draft and one not in least[:i]]
        if not least:
            return draft
        for one, fails in zip(least, (yield least), strict=True):
            if fails:
                draft = one
                break
        if draft == least[0]:
            return draft
        return (yield from self._singly(draft, runs))

    def _singly(self, draft: Draft, runs: Runs) -> Asking:
        """The smallest number for each class of sizes, all others as they are; then together.

        A class that passes one below, at half and at 1 is taken to be needed as it is.
        """
        found: dict[Place, Resize] = {}

        def ask(edits: Sequence[Resize]) -> Generator[list[Draft], Sequence[bool], dict[Key, bool]]:
            told = [one for one in runs([edit.apply(draft) for edit in edits]) if one is not None]
            fails = (yield told) if told else ()
            for edit, failing in zip(edits, fails, strict=True):
                best = found.get(edit.leader)
                if failing and (best is None or edit.new < best.new):
                    found[edit.leader] = edit
            return {(e.leader, e.new): f for e, f in zip(edits, fails, strict=True)}

        yield from ask(self._nearest(draft, runs))
        searches = {
            leader: smallest(1, edit.new, width=WIDTH)
            for leader, edit in found.items()
            if edit.new > 1
        }
        wanted = {leader: next(search) for leader, search in searches.items()}
        while wanted:
            edits = [
                resized(draft, leader, (number,), runs)
                for leader, numbers in wanted.items()
                for number in numbers
            ]
            fails = yield from ask([edit for edit in edits if edit is not None])
            waiting = {}
            for leader, numbers in wanted.items():
                told = tuple(fails.get((leader, number), False) for number in numbers)
                with suppress(StopIteration):  # the smallest of this class is known
                    waiting[leader] = searches[leader].send(told)
            wanted = waiting
        return (yield from merged(draft, list(found.values()), runs))

    def neighbours(self, draft: Draft, runs: Runs) -> list[Edit]:
        """Each class at the next smaller size, at half, and at 1."""
        return [*self._nearest(draft, runs)]

    def _nearest(self, draft: Draft, runs: Runs) -> list[Resize]:
        found: dict[Resize, None] = {}
        for one in self._classes(draft, runs):
            below = list(range(one.old - 1, max(0, one.old - NEAR), -1))
            for numbers in (below, [one.old // 2], [1]):
                edit = resized(draft, one.leader, numbers, runs)
                if edit is not None:
                    found[edit] = None
        return list(found)

    def _classes(self, draft: Draft, runs: Runs) -> list[Resize]:
        """One edit for each set of sizes that move together, and at least one of an input."""
        found: list[Resize] = []
        covered: set[Place] = set()
        have = sizes(draft.program)
        for place in sorted(have, key=is_dimension, reverse=True):
            if place in covered:
                continue
            value = have[place]
            numbers = list(dict.fromkeys([value // 2, 1, 2, value - 1]))
            edit = resized(draft, place, [n for n in numbers if 0 < n < value], runs)
            if edit is None:
                continue
            if any(is_dimension(one) for one, _ in edit.changes) is self.of_inputs:
                found.append(edit)
                covered.update(one for one, _ in edit.changes)
        return found


class CallSizes(Sizes):
    """Integers in calls that no size of an input has to do with."""

    name = "call-sizes"
    summary = "integers in calls become the smallest that fail"
    example = "torch.arange(100)  ->  torch.arange(17)"
    of_inputs = False

    def search(self, draft: Draft, runs: Runs) -> Asking:
        return (yield from self._singly(draft, runs))


def squeezed(draft: Draft, floor: int, runs: Runs) -> Draft:
    """All sizes as small as eager allows, none below `floor` that is not so now."""
    for _ in range(SWEEPS):
        before = draft
        have = sizes(draft.program)
        shapes = {p: floor for p, value in have.items() if is_dimension(p) and value > floor}
        values = {have[place] for place in shapes}
        equal = {place: floor for place, value in have.items() if value in values}
        if shapes:
            whole = [
                replace(draft, program=program)
                for changes in (shapes, equal)
                for program in _ranged(draft, changes, floor)
            ]
            if (found := first_that_runs(whole, runs)) is not None:
                draft = found[1]
        for place in sorted(have, key=lambda one: (not is_dimension(one), -have[one])):
            now = sizes(draft.program)
            value = now.get(place, 0)
            if value <= floor:
                continue
            numbers = dict.fromkeys([floor, floor + 1, 2 * floor, value // 2])
            options = _options(draft, place, [n for n in numbers if floor <= n < value])
            smaller = [
                one
                for one in options
                if any(is_dimension(p) for p, _ in one.changes)
                and all(new >= floor for _, new in one.changes)
            ]
            found = first_that_runs([one.apply(draft) for one in smaller], runs)
            if found is not None:
                draft = found[1]
        if draft == before:
            break
    return draft


def resized(draft: Draft, leader: Place, numbers: Sequence[int], runs: Runs) -> Resize | None:
    """The fewest changes that give `leader` the first of `numbers` that eager accepts."""
    options = _options(draft, leader, numbers)
    found = first_that_runs([one.apply(draft) for one in options], runs)
    if found is None:
        return None
    return _fewest(draft, options[found[0]], runs)


def _options(draft: Draft, leader: Place, numbers: Sequence[int]) -> list[Resize]:
    have = sizes(draft.program)
    if leader not in have:
        return []
    follow = Follow(have, leader)
    bounded = _has_random_integers(draft)
    options: dict[Resize, None] = {}
    for number in numbers:
        if number >= follow.value:
            continue
        for changes in follow.proposals(number):
            if all(value > 0 for value in changes.values()):
                for limit in (None, min(changes.values())) if bounded else (None,):
                    pairs = tuple(changes.items())
                    options[Resize(leader, follow.value, number, pairs, limit)] = None
    return list(options)


def _ranged(draft: Draft, changes: Changes, limit: int) -> Iterator[Program]:
    program = assigned(draft.program, changes)
    yield program
    if _has_random_integers(draft):
        yield below(program, limit)


def _has_random_integers(draft: Draft) -> bool:
    return any(
        isinstance(node.spec, Tensor) and bool(node.spec.high) and not node.spec.is_floating
        for node in draft.program.inputs
    )


def _fewest(draft: Draft, edit: Resize, runs: Runs) -> Resize:
    """`edit` without the changes that eager does not ask for."""
    while len(edit.changes) > 1:
        others = [place for place, _ in edit.changes if place != edit.leader]
        fewer = [_without(edit, {place}) for place in others]
        told = runs([one.apply(draft) for one in fewer])
        free = {place for place, one in zip(others, told, strict=True) if one is not None}
        if not free:
            break
        alone = _without(edit, free)
        if runs([alone.apply(draft)])[0] is not None:
            edit = alone
        else:
            edit = _without(edit, {next(place for place in others if place in free)})
    if edit.limit is not None:
        plain = replace(edit, limit=None)
        if runs([plain.apply(draft)])[0] is not None:
            return plain
    return edit


def _without(edit: Resize, places: set[Place]) -> Resize:
    left = tuple(pair for pair in edit.changes if pair[0] not in places)
    return replace(edit, changes=left)
