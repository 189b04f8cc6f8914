"""Runs a search against an oracle, and keeps the best that was verified, whatever happens.

A search (core/search) says what to ask and never asks by itself; an oracle answers and knows no
strategy. A pass needs no more than

    edits = problem.edits()
    mask = drive(merge(len(edits)), lambda masks: fails([chosen(edits, mask) for mask in masks]))
    problem = problem.apply(chosen(edits, mask))

with `few` in the place of `merge` where edits are few and most of them succeed.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Protocol, TypeVar

from torchcrux.core.search.masks import members

E = TypeVar("E")

Rounds = Generator[tuple[int, ...], tuple[bool, ...], int]


class Stop(Exception):
    """Raised by an oracle to end the search here: out of time, interrupted, good enough.

    verified: those of the interrupted round that are already known to fail.
    """

    def __init__(self, verified: Sequence[int] = ()) -> None:
        super().__init__("the search was stopped")
        self.verified = tuple(verified)


class Problem(Protocol[E]):
    """Something that fails, and the small changes that might make it simpler.

    Edits are independent: any subset can be applied, in any order, with the same result.
    """

    def edits(self) -> Sequence[E]: ...

    def apply(self, edits: Sequence[E]) -> Problem[E]: ...


def chosen(edits: Sequence[E], mask: int) -> list[E]:
    return [edits[index] for index in members(mask)]


def drive(
    search: Rounds,
    ask: Callable[[Sequence[int]], Sequence[bool]],
    *,
    start: int = 0,
    rank: Callable[[int], float] = int.bit_count,
    on_improvement: Callable[[int], object] | None = None,
) -> int:
    """What the search returns; or, where `ask` raises Stop, the best that was verified so far.

    start: known to fail, without a question. rank: higher is better; for a search over numbers
    `operator.neg`, and `start` their upper end. on_improvement: called with each verified value
    better than all before it, once its round is answered. Any other exception passes through.
    """
    best = start
    replies: tuple[bool, ...] | None = None
    try:
        while True:
            try:
                asked = next(search) if replies is None else search.send(replies)
            except StopIteration as end:
                return int(end.value)
            replies = tuple(ask(asked))
            failing = [value for value, fails in zip(asked, replies, strict=True) if fails]
            better = max([best, *failing], key=rank)
            if better != best:
                best = better
                if on_improvement is not None:
                    on_improvement(best)
    except Stop as stop:
        return max([best, *stop.verified], key=rank)
    finally:
        search.close()
