"""A compilation that takes too long keeps what makes it long, and nothing else."""

from __future__ import annotations

import json

import pytest

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("warm_start")]

SCRIPT = """
import time
import torch

def backend(gm, inputs):
    time.sleep(sum(0.5 for node in gm.graph.nodes if node.target is torch.relu))
    return gm.forward

def f(x):
    for _ in range(4):
        x = torch.relu(x.sin()) + 1
    return x

start = time.perf_counter()
torch.compile(f, backend=backend)(torch.ones(3))
{check}
"""


@pytest.fixture
def run(tmp_path, run_here):
    def run(check, *options):
        (tmp_path / "script.py").write_text(SCRIPT.format(check=check))
        done = run_here(tmp_path, "run", *options, "--out", "out", "script.py")
        return done, tmp_path / "out"

    return run


def test_the_time_that_a_script_names_is_the_bound(run):
    check = """
seconds = time.perf_counter() - start
if seconds > 1.25:
    raise SystemError(f"compiled in {seconds:.1f} s, but 1.25 s are the most")
"""
    done, out = run(check)
    assert done.returncode == 0, done.stderr
    result = json.loads((out / "result.json").read_text())
    assert result["failure"]["kind"] == "slow_compile"
    assert result["operations"]["final"] == 3
    assert "assert took < 1.25" in (out / "repro.py").read_text()


def test_what_is_fast_enough_is_no_failure(run):
    done, _ = run("", "--check", "slow", "--bound", "30")
    assert done.returncode == 1
    assert "slowest compilation took 2" in done.stdout + done.stderr
