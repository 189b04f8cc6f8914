"""What fails only where candidates are judged is no failure: fresh interpreters have the last word."""

from __future__ import annotations

import pytest

from torchcrux.passes import ALL
from torchcrux.session import Options

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
    return torch.relu(torch.sin(x.exp()))

torch.compile(f, backend=backend)(torch.ones(3))
"""


def test_a_failure_that_only_children_see_is_left_behind(reduced, monkeypatch):
    monkeypatch.setattr("torchcrux.confirmation.FRESH_RUNS", 1)
    said = []
    cuts = [one for one in ALL if one.name in ("cut", "outputs")]
    _, result = reduced(SCRIPT, options=Options(passes=cuts, progress=said.append))
    assert "once more, asking fresh interpreters as well" in said
    assert (result.status, result.verified_runs) == ("reduced", 1)
    # Both: without sin no child fails, without relu no fresh interpreter does.
    assert "sin(" in result.text and "relu(" in result.text and "exp(" not in result.text
