"""The smallest number that still fails: a size, a count, a literal."""

from __future__ import annotations

from collections.abc import Generator, Sequence

Numbers = Generator[tuple[int, ...], tuple[bool, ...], int]
"""Yields a round of numbers; receives for each whether the program still fails with it; returns
the smallest found that does."""


def smallest(low: int, high: int, *, width: int = 8, first: Sequence[int] = ()) -> Numbers:
    """A number in [low, high] that fails while the one below it does not, or low itself.

    `high` is the present value, taken to fail. From low upwards in doubling steps, since a small
    number is the cheaper question; then between the last that passed and the first that failed,
    `width` numbers in a round. `first`: numbers worth asking at once (1, 2, 16). Where failing is
    not monotone the result is still such a number, but not the least of all.
    """
    if low > high:
        raise ValueError(f"no number from {low} to {high}")
    answers = {high: True}

    def ask(numbers: Sequence[int]) -> Generator[tuple[int, ...], tuple[bool, ...], None]:
        fresh = tuple(dict.fromkeys(number for number in numbers if number not in answers))
        if fresh:
            answers.update(zip(fresh, (yield fresh), strict=True))

    def best() -> int:
        return min(number for number, fails in answers.items() if fails)

    ladder = [low]
    while (number := low + (1 << len(ladder) - 1)) < high:
        ladder.append(number)
    wanted = [number for number in first if low <= number < high]
    for start in range(0, len(ladder), width):
        yield from ask([*wanted, *ladder[start : start + width]])
        wanted = []
        if best() <= ladder[min(start + width, len(ladder)) - 1]:
            break

    while True:
        good = best()
        bad = max((number for number in answers if number < good), default=low - 1)
        inside = good - bad - 1
        if not inside:
            return good
        count = min(width, inside)
        yield from ask([bad + (inside + 1) * place // (count + 1) for place in range(1, count + 1)])
