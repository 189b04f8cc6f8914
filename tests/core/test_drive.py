"""The search and the oracle together."""

from __future__ import annotations

import operator

import pytest
from fake_failures import mask, needs

from torchcrux.core.reduction import Stop, chosen, drive
from torchcrux.core.search.integers import smallest
from torchcrux.core.search.merge import merge


def oracle(fails):
    return lambda masks: [fails(question) for question in masks]


def test_the_result_is_what_the_search_found():
    needed = mask([3, 90])
    assert drive(merge(100), oracle(needs(needed))) == (1 << 100) - 1 - needed


def test_every_improvement_is_verified_and_better_than_the_last():
    fails, seen = needs(mask([3, 90])), []
    result = drive(merge(100), oracle(fails), on_improvement=seen.append)
    assert len(seen) > 2 and seen[-1] == result
    assert all(map(fails, seen))
    assert [better.bit_count() for better in seen] == sorted({m.bit_count() for m in seen})


def test_stopping_keeps_the_best_so_far():
    fails, rounds = needs(mask([3, 90])), []

    def ask(masks):
        if len(rounds) == 6:
            raise Stop
        rounds.append(masks)
        return [fails(question) for question in masks]

    result = drive(merge(100), ask)
    assert result and fails(result)
    assert result.bit_count() == max(m.bit_count() for asked in rounds for m in asked if fails(m))


def test_stopping_in_a_round_keeps_what_it_had_verified():
    def ask(masks):
        raise Stop(verified=masks[2:3])

    asked = next(merge(100))
    assert drive(merge(100), ask) == asked[2]


def test_stopping_at_once_changes_nothing():
    def ask(masks):
        raise Stop

    assert drive(merge(100), ask) == 0


def test_an_observer_can_stop_as_well():
    def enough(better):
        raise Stop

    fails = needs(mask([3, 90]))
    result = drive(merge(100), oracle(fails), on_improvement=enough)
    assert result and fails(result)


def test_any_other_error_of_the_oracle_passes_through():
    def ask(masks):
        raise OSError("no more processes")

    with pytest.raises(OSError):
        drive(merge(100), ask)


def test_answers_that_do_not_match_the_questions_are_refused():
    with pytest.raises(ValueError):
        drive(merge(100), lambda masks: [False])


def test_numbers_are_driven_downwards():
    seen = []
    result = drive(
        smallest(0, 500),
        oracle(lambda number: number >= 77),
        start=500,
        rank=operator.neg,
        on_improvement=seen.append,
    )
    assert result == seen[-1] == 77
    assert seen == sorted(seen, reverse=True)


def test_the_chosen_edits_keep_their_order():
    assert chosen("abcdef", 0b101001) == ["a", "d", "f"]
