"""A short script that passes is run again: who asks about it has seen it fail."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from torchcrux import catching
from torchcrux.capturing.script import Caught, Ending

PASSED = Caught(Ending.PASSED, "Nothing failed.", 0, graphs=1)
FAILED = Caught(Ending.CAUGHT, "Caught.", 1, case=SimpleNamespace())


def catch(monkeypatch, tmp_path, endings, check="auto"):
    """What comes of a script that ends like this, run after run; and how often it was run."""
    runs = []

    def run_script(target, args, *, folder, **rest):
        runs.append(folder)
        return endings[len(runs) - 1]

    monkeypatch.setattr(catching, "run_script", run_script)
    catcher = catching.Catcher(
        "script.py",
        (),
        False,
        check=check,
        accuracy="accuracy",
        bound=None,
        timeout=None,
        folder=tmp_path,
        say=lambda text: None,
    )
    caught = catcher.caught()
    assert len(set(runs)) == len(runs)
    return caught, len(runs)


def test_a_failure_of_a_later_run_is_caught(monkeypatch, tmp_path):
    assert catch(monkeypatch, tmp_path, [PASSED, PASSED, FAILED]) == (FAILED, 3)


def test_one_that_always_passes_is_told_how_often(monkeypatch, tmp_path):
    caught, runs = catch(monkeypatch, tmp_path, [PASSED] * 9)
    assert runs == 1 + catching.MORE_RUNS
    assert caught.ending is Ending.PASSED and f"{catching.MORE_RUNS} further runs" in caught.message


@pytest.mark.parametrize("seconds", [31, 61])
def test_a_long_script_is_not_run_for_more_than_a_minute(monkeypatch, tmp_path, seconds):
    now = iter([0.0, seconds])
    monkeypatch.setattr(catching.time, "monotonic", lambda: next(now))
    assert catch(monkeypatch, tmp_path, [PASSED] * 9)[1] == 1 + 60 // seconds


def test_a_check_that_the_user_chose_is_run_once(monkeypatch, tmp_path):
    assert catch(monkeypatch, tmp_path, [PASSED] * 9, check="accuracy")[1] == 1
