"""How often one has to try to see a failure that does not always come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchcrux.oracle.frequency import MISSED, MOST_TRIES, Frequency


def test_what_always_fails_is_tried_once():
    assert Frequency(10, 10).tries == 1


@pytest.mark.parametrize(("failed", "tries"), [(9, 3), (5, 8), (3, 15), (1, 51), (0, MOST_TRIES)])
def test_tries(failed, tries):
    assert Frequency(failed, 10).tries == tries


@given(st.integers(1, 50).flatmap(lambda n: st.tuples(st.integers(1, n), st.just(n))))
def test_a_failure_is_seldom_missed_and_no_try_is_wasted(pair):
    failed, asked = pair
    tries, missed = Frequency(failed, asked).tries, 1 - failed / asked
    if failed < asked and tries < MOST_TRIES:
        assert missed**tries <= MISSED < missed ** (tries - 1)


def test_measurements_add_up():
    assert str(Frequency(3, 4) + Frequency(2, 6)) == "5 of 10"
