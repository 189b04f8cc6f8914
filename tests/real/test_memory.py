"""What needs too much memory keeps what makes it need it, and nothing else."""

from __future__ import annotations

import json
import subprocess

import pytest

from command_kit import command

pytestmark = pytest.mark.real

SCRIPT = """
import resource
import torch

def backend(gm, inputs):
    held = []
    for node in gm.graph.nodes:
        if node.target is torch.relu:
            held.append(torch.ones(40, 2**20))  # 160 MiB
    return gm.forward if {at_once} else lambda *args: (held.append(torch.ones(40, 2**20)), gm(*args))[1]

def f(x):
    for _ in range(3):
        x = torch.relu(x.sin()) + 1
    return x

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

before = peak()
torch.compile(f, backend=backend)(torch.ones(3))
{check}
"""


def run(folder, check, *options, at_once=True):
    (folder / "script.py").write_text(SCRIPT.format(check=check, at_once=at_once))
    done = subprocess.run(
        command("run", *options, "--out", "out", "script.py"),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done, folder / "out"


def test_the_memory_that_a_script_names_is_the_bound(tmp_path):
    check = """
grown = peak() - before
assert grown < 250, f"compiling took {grown:.0f} MiB; 250 MiB are the most"
"""
    done, out = run(tmp_path, check)
    assert done.returncode == 0, done.stderr
    result = json.loads((out / "result.json").read_text())
    assert result["failure"]["kind"] == "memory"
    assert result["operations"]["final"] == 2  # of 160 MiB each
    assert "assert spent < 250" in (out / "repro.py").read_text()


def test_without_a_bound_a_call_may_need_half_of_what_was_needed(tmp_path):
    done, out = run(tmp_path, "", "--check", "memory", at_once=False)
    assert done.returncode == 0, done.stderr
    assert 0 < json.loads((out / "result.json").read_text())["operations"]["final"] <= 2


def test_what_needs_little_is_no_failure(tmp_path):
    done, _ = run(tmp_path, "", "--check", "memory", "--bound", "3000")
    assert done.returncode == 1
