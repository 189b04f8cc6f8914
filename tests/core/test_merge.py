"""What the shipped search promises, with its shipped constants."""

from __future__ import annotations

from statistics import mean

import pytest
from fake_failures import bound, clustered, mask, needs, play, spread

from torchcrux.core.search.merge import LARGEST_ROUND, WIDTH, cheap_rounds, few, merge

SEEDS = range(25)


def found(n, items, **options):
    result = play(merge(n, **options), n, needs(mask(items)))
    assert result.kept == sorted(items)
    assert result.verified and result.one_minimal and result.no_question_twice
    return result


@pytest.mark.parametrize("pair", [(0, 199), (3, 187), (20, 120), (99, 100), (62, 137)])
def test_two_operations_far_apart_in_200_cost_at_most_60_questions(pair):
    assert found(200, list(pair)).questions <= 60


def test_any_two_of_200_cost_at_most_60_questions():
    assert max(found(200, spread(200, 2, seed)).questions for seed in range(300)) <= 60


def test_any_one_of_1000_costs_at_most_50_questions_in_9_rounds():
    results = [found(1000, [item]) for item in range(0, 1000, 7)]
    assert max(result.questions for result in results) <= 50
    assert max(len(result.rounds) for result in results) <= 9


@pytest.mark.parametrize("layout", [spread, clustered])
def test_any_five_of_1000_cost_at_most_150_questions_in_15_rounds(layout):
    results = [found(1000, layout(1000, 5, seed)) for seed in range(300)]
    assert max(result.questions for result in results) <= 150
    assert max(len(result.rounds) for result in results) <= 15


@pytest.mark.parametrize("layout", [spread, clustered])
@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 10, 20])
@pytest.mark.parametrize("n", [50, 200, 1000, 20_000])
def test_questions_stay_near_the_information_bound(n, k, layout):
    questions = [found(n, layout(n, k, seed)).questions for seed in SEEDS]
    assert mean(questions) <= (2 if k >= 5 else 3.5) * bound(n, k)


@pytest.mark.parametrize("layout", [spread, clustered])
def test_five_of_20000_take_at_most_20_rounds(layout):
    assert max(len(found(20_000, layout(20_000, 5, seed)).rounds) for seed in SEEDS) <= 20


@pytest.mark.parametrize("layout", [spread, clustered])
@pytest.mark.parametrize("n, k", [(50, 5), (200, 2), (1000, 5), (20_000, 5)])
def test_a_second_way_to_fail_costs_at_most_five_rounds_more(n, k, layout):
    for seed in SEEDS:
        one, other = mask(layout(n, k, seed)), mask(layout(n, k, seed + 1000))
        either = play(merge(n), n, needs(one, other))
        alone = [play(merge(n), n, needs(needed)) for needed in (one, other)]
        assert either.verified and either.one_minimal and either.no_question_twice
        assert mask(either.kept) in (one, other)
        assert len(either.rounds) <= 5 + max(len(result.rounds) for result in alone)


def test_neighbours_cost_fewer_compiled_graphs_than_strangers():
    together = [found(1000, clustered(1000, 5, seed)).graphs for seed in SEEDS]
    apart = [found(1000, spread(1000, 5, seed)).graphs for seed in SEEDS]
    assert mean(together) < 5 < mean(apart)


def test_the_first_round_compiles_two_graphs_in_all():
    first = found(1600, [700]).rounds[0]
    assert sum(1600 - asked.bit_count() for asked in first) <= 2 * 1600


def test_a_pair_on_the_border_of_two_chunks_lies_in_a_window():
    chunk = 1600 // WIDTH
    result = found(1600, [3 * chunk - 1, 3 * chunk])
    assert any(result.answers[asked] for asked in result.rounds[0])


def test_windows_behind_one_that_suffices_are_not_asked():
    first, last = (found(1600, [item]) for item in (10, 1590))
    assert first.questions < last.questions - WIDTH // 2


def test_nothing_needed_costs_one_round():
    result = play(merge(5000), 5000, lambda removed: True)
    assert (result.kept, len(result.rounds)) == ([], 1)


@pytest.mark.parametrize("n", [1, 2, 7, 100, 3000])
def test_everything_needed_costs_no_more_than_three_questions_an_item(n):
    result = play(merge(n), n, lambda removed: False)
    assert result.removed == 0 and result.one_minimal
    assert result.questions <= 3 * n


def test_no_edits_no_questions():
    assert play(merge(0), 0, lambda removed: False).rounds == ()


def test_a_good_hint_is_taken_in_the_first_round():
    hint = mask([10, 400, 401, 990])
    result = found(1000, [10, 990], hints=[hint])
    assert result.questions < found(1000, [10, 990]).questions / 1.5


def test_hints_are_asked_before_any_window():
    hint = mask([10, 990])
    result = found(1000, [10, 990], hints=[hint, mask([5])])
    assert all(1000 - asked.bit_count() <= 2 for asked in result.rounds[0] if asked)
    assert result.questions <= 6


def test_two_good_hints_leave_what_they_share():
    hints = [mask(list(range(500))), mask(list(range(490, 1000)))]
    result = found(1000, [491, 498], hints=hints)
    assert result.questions <= 35


def test_a_wrong_hint_costs_its_question():
    hint = mask([1, 2, 3])
    assert found(1000, [10, 990], hints=[hint]).questions == found(1000, [10, 990]).questions + 1


def test_windows_weigh_alike():
    weights = [100.0] * 10 + [1.0] * 1000
    first = found(1010, [500], weights=weights).rounds[0]
    kept = [sum(weights[i] for i in range(1010) if not asked >> i & 1) for asked in first]
    assert max(kept) <= 400


def test_known_answers_are_not_asked():
    whole = mask(list(range(100)))
    result = play(merge(100, known={whole: False}), 100, needs(mask([5])))
    assert whole not in result.answers and result.kept == [5]


@pytest.mark.parametrize("local", [False, True])
def test_whether_windows_are_tried_does_not_change_what_is_found(local):
    for seed in SEEDS:
        found(2000, clustered(2000, 6, seed), local=local)
        found(2000, spread(2000, 6, seed), local=local)


def test_a_round_is_never_larger_than_its_limit():
    result = play(merge(3000), 3000, lambda removed: False)
    assert max(len(asked) for asked in result.rounds) <= LARGEST_ROUND


def test_few_edits_are_first_applied_all_at_once():
    assert play(few(9), 9, lambda removed: True).rounds == ((0b111111111,),)


def test_few_edits_are_then_tried_each_by_itself():
    result = play(few(9), 9, needs(mask([4])))
    assert [len(asked) for asked in result.rounds[:2]] == [1, 9]
    assert result.kept == [4] and result.one_minimal and result.questions == 11


def test_few_can_be_none():
    assert play(few(0), 0, lambda removed: False).rounds == ()


def test_a_wrong_number_of_answers_is_refused():
    search = merge(100)
    next(search)
    with pytest.raises(ValueError):
        search.send((True,))


@pytest.mark.parametrize("n", [5, 17, 18, 60, 200, 5000])
@pytest.mark.parametrize("hints", [(), (0b1010,)])
def test_the_cheap_rounds_are_those_that_keep_little(n, hints):
    rounds = play(merge(n, hints=hints), n, lambda removed: removed == 0).rounds
    kept = [max(n - asked.bit_count() for asked in one) for one in rounds]
    cheap = cheap_rounds(n, hints)
    assert max(kept[:cheap]) <= max(12, n // 4) and kept[cheap] >= n // 2


def test_the_windows_for_which_most_speaks_are_asked_first():
    n, items = 1000, [900, 905]
    said = [1.0 if item in items else 0.0 for item in range(n)]
    told = play(merge(n, likely=said), n, needs(mask(items)))
    untold = play(merge(n), n, needs(mask(items)))
    assert told.kept == untold.kept == items
    assert len(told.rounds) < len(untold.rounds)
    assert told.questions < untold.questions


def test_what_is_said_wrongly_costs_no_question():
    said = [float(item < 500) for item in range(1000)]
    told = found(1000, [10, 990], likely=said)
    assert told.questions <= found(1000, [10, 990]).questions
