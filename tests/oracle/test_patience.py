"""A candidate whose loop has no end costs seconds, not minutes."""

from __future__ import annotations

import sys
import time

import pytest

from torchcrux.oracle.facts import PROBE
from torchcrux.oracle.patience import FACTOR, LEAST, Patience, TooLong, at_most
from torchcrux.oracle.trial import try_all


def test_what_is_larger_than_all_that_has_ended_may_take_longest():
    patience = Patience(300.0)
    assert patience.of(0) == 300.0
    patience.ended(3, 1.0)
    assert patience.of(3) == LEAST
    assert patience.of(4) == 300.0
    patience.ended(1, 20.0)
    assert patience.of(2) == 20.0 * FACTOR
    patience.ended(5, 200.0)
    assert patience.of(5) == 300.0


def test_time_is_up_inside_only():
    begun = time.monotonic()
    with pytest.raises(TooLong), at_most(0.1):
        while True:
            try:
                time.sleep(10)
            except Exception:
                pytest.fail("no handler of exceptions is to see it")
    assert time.monotonic() - begun < 5
    with at_most(0.1):
        pass
    time.sleep(0.2)


def test_of_drafts_that_eager_tries_only_the_endless_one_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    texts = [f"{PROBE}('x', 1)", "while True:\n    pass", f"{PROBE}('x', 2)"]
    found = try_all({"texts": texts, "seconds": 0.2, "eager": ""})
    assert [one is None for one in found] == [False, True, False]
