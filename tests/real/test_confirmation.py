"""What fails only where candidates are judged is no failure: fresh interpreters have the last word."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.real

SCRIPT = """
import sys
import torch

def backend(gm, inputs):
    targets = [str(node.target) for node in gm.graph.nodes]
    # Where a server has forked, there is something in memory that is not there otherwise.
    needed = "sin" if "torchcrux.run.child" in sys.modules else "relu"
    if any(needed in target for target in targets):
        raise RuntimeError("internal error")
    return gm.forward

def f(x):
    return torch.relu(torch.sin(x.exp())) + 1

torch.compile(f, backend=backend)(torch.ones(3))
"""


def test_a_failure_that_only_children_see_is_left_behind(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "-m", "torchcrux", "run", "--verbose", "--out", "out", "script.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "asking fresh interpreters" in done.stderr
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["verified_runs"] == 3
    text = (tmp_path / "out" / "repro.py").read_text()
    # Both: without sin no child fails, without relu no fresh interpreter does.
    assert "sin(" in text and "relu(" in text and "exp(" not in text
