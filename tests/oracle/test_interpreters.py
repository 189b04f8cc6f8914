"""An interpreter that is started ahead of its script is as new as any other when that begins."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from torchcrux.oracle.interpreters import AHEAD, Ahead
from torchcrux.oracle.verify import Fresh, run_fresh

SCRIPT = """\
import sys
import __main__

assert sorted(vars(__main__)) == [
    "__builtins__", "__doc__", "__file__", "__loader__", "__main__", "__name__", "__package__",
    "__spec__", "sys",
]
assert vars(__main__) is globals() and __name__ == "__main__"
assert sys.argv == [__file__]
assert sys.path[0] == __file__.rpartition("/")[0]
assert sys.stdin.read() == ""
print("x" * 2**20)
assert "colorsys" in sys.modules


def fails():
    import torchcrux


fails()
"""


@pytest.fixture
def ahead():
    started = []

    def start(*args, **options):
        started.append(Ahead(*args, **options))
        return started[-1]

    yield start
    for one in started:
        one.close()


def script(folder, text):
    path = folder / "repro.py"
    path.write_text(text)
    return path


def until(holds):
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def run_ahead(path, waiting):
    until(lambda: waiting._waiting)
    with Fresh(path, 1, 60.0, ahead=waiting) as fresh:
        (run,) = fresh.results()
    return run


def test_the_script_finds_what_a_script_finds(tmp_path, ahead):
    run = run_ahead(script(tmp_path, SCRIPT), ahead(["colorsys"], 1, beside=1))
    assert run.code == 1
    assert "a repro runs without torchcrux" in run.stderr


def test_its_traceback_is_that_of_a_script(tmp_path, ahead):
    path = script(tmp_path, "def f():\n    raise ValueError('no')\n\n\nf()\n")
    run = run_ahead(path, ahead([], 1, beside=1))
    (plain,) = run_fresh(path, 1, 60.0)
    assert run == plain


@pytest.mark.parametrize("ends", ["sys.exit(7)", "os.abort()", "None"])
def test_it_ends_as_a_script_does(tmp_path, ahead, ends):
    path = script(tmp_path, f"import os, sys\n{ends}\n")
    run = run_ahead(path, ahead([], 1, beside=1))
    assert [run] == run_fresh(path, 1, 60.0)


def test_where_none_is_left_one_is_started_anew(tmp_path, ahead):
    path = script(tmp_path, "import sys\nsys.exit('colorsys' in sys.modules)")
    waiting = ahead(["colorsys"], 2, beside=2)
    until(lambda: len(waiting._waiting) == 2)
    with Fresh(path, 3, 60.0, ahead=waiting) as fresh:
        assert sorted(run.code for run in fresh.results()) == [0, 1, 1]
    assert waiting.begun(path, None) is None


def test_what_is_known_of_the_machine_is_laid_before_it_is_asked_for(tmp_path, ahead, monkeypatch):
    (tmp_path / "asks.py").write_text("def it():\n    open('asked', 'w')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    path = script(tmp_path, "")
    known = tmp_path / "known"
    assert run_ahead(path, ahead(["asks:it"], 1, beside=1, constants=known)).code == 0
    assert not (tmp_path / "asked").exists()
    known.mkdir()
    assert run_ahead(path, ahead(["asks:it"], 1, beside=1, constants=known)).code == 0
    assert (tmp_path / "asked").exists()


def test_what_cannot_be_imported_is_left_to_the_script(tmp_path, ahead):
    run = run_ahead(script(tmp_path, "import sys; sys.exit(5)"), ahead(["no_module"], 1, beside=1))
    assert (run.code, run.stderr) == (5, "")


def test_one_that_was_killed_is_not_taken(tmp_path, ahead):
    waiting = ahead([], 1, beside=1)
    until(lambda: waiting._waiting)
    waiting._waiting[0].end()
    with Fresh(script(tmp_path, "import sys; sys.exit(5)"), 1, 60.0, ahead=waiting) as fresh:
        (run,) = fresh.results()
    assert run.code == 5


def test_those_that_nobody_needs_end(ahead):
    waiting = ahead([], 3, beside=2)
    until(lambda: waiting._waiting)
    waiting.close()
    for one in waiting._started:
        assert one.wait(0.0) is not None


def test_one_whose_starter_is_gone_ends():
    process = subprocess.Popen(
        [sys.executable, "-c", AHEAD], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert os.read(process.stdout.fileno(), 1) == b"1"
    process.stdin.close()
    assert process.wait(60) == 0
    process.stdout.close()
