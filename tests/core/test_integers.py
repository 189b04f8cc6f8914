"""The smallest number that still fails."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchcrux.core.search.integers import smallest


def ask(search, fails):
    rounds, replies = [], None
    while True:
        try:
            asked = next(search) if replies is None else search.send(replies)
        except StopIteration as end:
            return end.value, rounds
        rounds.append(asked)
        replies = tuple(fails(number) for number in asked)


@settings(deadline=None)
@given(st.integers(-50, 50), st.integers(0, 10**9), st.data(), st.sampled_from([1, 3, 8]))
def test_the_threshold_is_found(low, length, data, width):
    threshold = data.draw(st.integers(low, low + length))
    result, rounds = ask(
        smallest(low, low + length, width=width), lambda number: number >= threshold
    )
    questions = [number for asked in rounds for number in asked]
    assert result == threshold
    assert len(questions) == len(set(questions))
    assert all(low <= number < low + length for number in questions)
    assert max(map(len, rounds), default=0) <= width


@settings(deadline=None)
@given(st.integers(1, 3000), st.integers(), st.sampled_from([0.05, 0.5]))
def test_without_a_threshold_the_next_below_still_passes(high, seed, odds):
    def fails(number):
        return number == high or random.Random(f"{seed} {number}").random() < odds

    result, rounds = ask(smallest(0, high), fails)
    asked = {number for round_ in rounds for number in round_}
    assert fails(result)
    assert result == 0 or (result - 1 in asked and not fails(result - 1))
    assert result == min([high, *filter(fails, asked)])


def test_small_numbers_are_asked_before_large_ones():
    _, rounds = ask(smallest(1, 10**6), lambda number: number >= 3)
    assert max(number for asked in rounds for number in asked) <= 129


def test_nothing_to_lower_asks_nothing():
    assert ask(smallest(4, 4), lambda number: False) == (4, [])


def test_numbers_that_often_suffice_come_first():
    _, rounds = ask(smallest(1, 4096, first=[16, 64, 9999]), lambda number: number % 16 == 0)
    assert rounds[0][:2] == (16, 64)


def test_a_thousand_takes_at_most_five_rounds():
    assert max(len(ask(smallest(0, 1000), lambda v: v >= t)[1]) for t in range(1001)) <= 5


def test_an_empty_range_is_refused():
    with pytest.raises(ValueError):
        next(smallest(5, 4))
