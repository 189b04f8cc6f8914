"""Fresh interpreters run beside whatever else is done, and none is left behind."""

from __future__ import annotations

import os
import time

import pytest

from torchcrux.oracle.verify import Fresh, run_fresh


def script(folder, text):
    path = folder / "repro.py"
    path.write_text(text)
    return path


def test_a_flood_of_errors_does_not_wait_for_a_reader(tmp_path):
    done = tmp_path / "done"
    text = f"import sys\nsys.stderr.write('x' * 2**20)\nopen({str(done)!r}, 'w')\nsys.exit(3)"
    with Fresh(script(tmp_path, text), 1, 60.0) as fresh:
        until = time.monotonic() + 60
        while not done.exists() and time.monotonic() < until:
            time.sleep(0.01)
        assert done.exists()
        (run,) = fresh.results()
        assert fresh.results() == [run]
    assert run.code == 3
    assert len(run.stderr) == 2**20


def test_what_still_runs_is_ended_with_the_context(tmp_path):
    file = tmp_path / "pid"
    text = f"import os, time\nopen({str(file)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)"
    with Fresh(script(tmp_path, text), 1, 60.0):
        until = time.monotonic() + 60
        while not (file.exists() and file.read_text()) and time.monotonic() < until:
            time.sleep(0.01)
    with pytest.raises(ProcessLookupError):
        os.kill(int(file.read_text()), 0)


def test_one_that_does_not_end_in_time_has_no_status(tmp_path):
    (run,) = run_fresh(script(tmp_path, "import time; time.sleep(600)"), 1, 0.5)
    assert run.code is None


def test_it_runs_without_torchcrux_and_with_what_is_known_of_the_machine(tmp_path):
    (tmp_path / "constants").mkdir()
    (tmp_path / "constants" / "probe").write_text("known")
    text = """
import os, pathlib, sys
assert (pathlib.Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]) / "probe").read_text() == "known"
import torchcrux
"""
    (run,) = run_fresh(script(tmp_path, text), 1, 60.0, tmp_path / "constants")
    assert run.code == 1
    assert "a repro runs without torchcrux" in run.stderr
