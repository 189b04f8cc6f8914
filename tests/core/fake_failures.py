"""Failures without a compiler: which items are needed, and what a search asks to find them."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Generator
from dataclasses import dataclass
from time import perf_counter

Oracle = Callable[[int], bool]


def spread(n: int, k: int, seed: int) -> list[int]:
    """k of n, anywhere. Only random() of a seeded generator is the same on every Python."""
    source = random.Random(seed)
    chosen: set[int] = set()
    while len(chosen) < k:
        chosen.add(int(source.random() * n))
    return sorted(chosen)


def clustered(n: int, k: int, seed: int) -> list[int]:
    """k within 4k neighbours: one fused region."""
    window = min(n, 4 * k)
    start = int(random.Random(seed + 1).random() * (n - window + 1))
    return [start + item for item in spread(window, k, seed)]


def mask(items: list[int]) -> int:
    return sum(1 << item for item in items)


def needs(*sets: int) -> Oracle:
    """Fails while at least one of the sets is kept whole. More than one: not monotone."""
    return lambda removed: any(not removed & needed for needed in sets)


def bound(n: int, k: int) -> float:
    """Questions: log2 C(n, k) to find the k, and k to show that each is needed."""
    bits = (math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)) / math.log(2)
    return bits + k


@dataclass(frozen=True)
class Play:
    n: int
    removed: int
    rounds: tuple[tuple[int, ...], ...]
    answers: dict[int, bool]
    seconds: float  # in the engine

    @property
    def kept(self) -> list[int]:
        return [item for item in range(self.n) if not self.removed >> item & 1]

    @property
    def questions(self) -> int:
        return sum(len(asked) for asked in self.rounds)

    @property
    def graphs(self) -> float:
        """What was compiled, in whole graphs."""
        kept = sum(self.n - asked.bit_count() for round_ in self.rounds for asked in round_)
        return kept / self.n

    @property
    def verified(self) -> bool:
        return self.removed == 0 or self.answers[self.removed]

    @property
    def one_minimal(self) -> bool:
        return all(self.answers.get(self.removed | 1 << item) is False for item in self.kept)

    @property
    def no_question_twice(self) -> bool:
        return self.questions == len(self.answers)


def play(search: Generator[tuple[int, ...], tuple[bool, ...], int], n: int, oracle: Oracle) -> Play:
    rounds: list[tuple[int, ...]] = []
    answers: dict[int, bool] = {}
    seconds = 0.0
    replies = None
    while True:
        begin = perf_counter()
        try:
            asked = next(search) if replies is None else search.send(replies)
        except StopIteration as end:
            return Play(n, end.value, tuple(rounds), answers, seconds + perf_counter() - begin)
        seconds += perf_counter() - begin
        assert asked, "an empty round"
        rounds.append(asked)
        replies = tuple(oracle(question) for question in asked)
        answers.update(zip(asked, replies))
