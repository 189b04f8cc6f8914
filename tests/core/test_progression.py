"""One question at a time."""

from __future__ import annotations

from statistics import mean

import pytest
from fake_failures import bound, clustered, mask, needs, play, spread

from torchcrux.core.search.progression import progression


@pytest.mark.parametrize("layout", [spread, clustered])
@pytest.mark.parametrize("k", [1, 2, 5, 10, 20])
@pytest.mark.parametrize("n", [50, 500, 20_000])
def test_questions_stay_within_one_and_a_half_of_the_bound(n, k, layout):
    questions = []
    for seed in range(25):
        items = layout(n, k, seed)
        result = play(progression(n), n, needs(mask(items)))
        assert result.kept == items and result.one_minimal and result.no_question_twice
        questions.append(result.questions)
    assert mean(questions) <= 1.5 * bound(n, k)


def test_every_round_is_one_question():
    result = play(progression(300), 300, needs(mask([7, 200])))
    assert {len(asked) for asked in result.rounds} == {1}


def test_everything_needed_ends():
    result = play(progression(200), 200, lambda removed: False)
    assert result.removed == 0 and result.one_minimal and result.questions <= 4 * 200


def test_no_edits_no_questions():
    assert play(progression(0), 0, lambda removed: False).rounds == ()
