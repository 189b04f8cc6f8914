"""A compilation that takes too long keeps what makes it long, and nothing else."""

from __future__ import annotations

import json
import subprocess

import pytest

from command_kit import command

pytestmark = pytest.mark.real

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


def run(folder, check, *options):
    (folder / "script.py").write_text(SCRIPT.format(check=check))
    done = subprocess.run(
        command("run", *options, "--out", "out", "script.py"),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done, folder / "out"


def test_the_time_that_a_script_names_is_the_bound(tmp_path):
    check = """
seconds = time.perf_counter() - start
if seconds > 1.25:
    raise SystemError(f"compiled in {seconds:.1f} s, but 1.25 s are the most")
"""
    done, out = run(tmp_path, check)
    assert done.returncode == 0, done.stderr
    result = json.loads((out / "result.json").read_text())
    assert result["failure"]["kind"] == "slow_compile"
    assert result["operations"]["final"] == 3
    assert "assert took < 1.25" in (out / "repro.py").read_text()


def test_what_is_fast_enough_is_no_failure(tmp_path):
    done, _ = run(tmp_path, "", "--check", "slow", "--bound", "30")
    assert done.returncode == 1
    assert "slowest compilation took 2" in done.stdout + done.stderr
