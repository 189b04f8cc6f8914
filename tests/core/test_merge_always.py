"""What every search keeps to, whatever the oracle does."""

from __future__ import annotations

import random

from fake_failures import mask, needs, play
from hypothesis import given, settings
from hypothesis import strategies as st

from torchcrux.core.search.merge import few, merge
from torchcrux.core.search.progression import progression

SEARCHES = st.sampled_from(
    [
        merge,
        few,
        progression,
        lambda n: merge(n, width=3),
        lambda n: merge(n, local=False),
        lambda n: merge(n, hints=[mask(list(range(0, n, 2))), mask(list(range(0, n, 3)))]),
        lambda n: merge(n, weights=[1.0 + item % 7 for item in range(n)]),
        lambda n: merge(n, weights=[0.0] * n),
    ]
)
SIZES = st.integers(1, 150)


@st.composite
def sets_of_items(draw, largest):
    n = draw(SIZES)
    items = st.lists(st.integers(0, n - 1), max_size=12, unique=True)
    return n, draw(st.lists(items.map(mask), min_size=1, max_size=largest))


def moody(seed, odds):
    """Answers by chance, but the same question always alike."""
    return lambda removed: random.Random(f"{seed} {removed}").random() < odds


@settings(deadline=None)
@given(SEARCHES, sets_of_items(largest=1))
def test_exactly_what_is_needed_is_left(search, case):
    n, (needed,) = case
    result = play(search(n), n, needs(needed))
    assert mask(result.kept) == needed
    assert result.verified and result.one_minimal and result.no_question_twice


@settings(deadline=None)
@given(SEARCHES, sets_of_items(largest=4))
def test_several_ways_to_fail_end_one_minimal(search, case):
    n, ways = case
    result = play(search(n), n, needs(*ways))
    assert mask(result.kept) in ways
    assert result.verified and result.one_minimal and result.no_question_twice


@settings(max_examples=300, deadline=None)
@given(SEARCHES, SIZES, st.integers(), st.sampled_from([0.02, 0.1, 0.5, 0.9]))
def test_chance_ends_one_minimal_too(search, n, seed, odds):
    result = play(search(n), n, moody(seed, odds))
    assert result.verified and result.one_minimal and result.no_question_twice


@settings(deadline=None)
@given(SEARCHES, SIZES, st.integers(), st.sampled_from([0.1, 0.5]))
def test_the_same_answers_lead_to_the_same_questions(search, n, seed, odds):
    first, second = (play(search(n), n, moody(seed, odds)) for _ in range(2))
    assert (first.rounds, first.removed) == (second.rounds, second.removed)


@settings(deadline=None)
@given(SIZES, st.integers(), st.sampled_from([0.02, 0.1, 0.5]))
def test_nothing_larger_than_the_result_was_seen_to_fail(n, seed, odds):
    result = play(merge(n), n, moody(seed, odds))
    failing = [asked.bit_count() for asked, fails in result.answers.items() if fails]
    assert result.removed.bit_count() == max(failing, default=0)


@settings(deadline=None)
@given(SIZES, st.integers(0, 30))
def test_an_oracle_that_stops_failing_ends_the_search(n, after):
    asked = 0

    def tired(removed):
        nonlocal asked
        asked += 1
        return asked <= after

    result = play(merge(n), n, tired)
    assert result.verified and result.one_minimal
    assert result.questions <= 5 * n + 2 * after + 20
