"""What fails only where candidates are judged is no failure: fresh interpreters have the last word."""

from __future__ import annotations

import pytest

from torchcrux.capturing.script import run_script
from torchcrux.passes import ALL
from torchcrux.session import Options, reduce_case

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
    caught = run_script(str(tmp_path / "script.py"), (), folder=tmp_path / "caught")
    said = []
    cuts = [one for one in ALL if one.name in ("cut", "outputs")]
    options = Options(jobs=2, passes=cuts, progress=said.append)
    result = reduce_case(caught.case, tmp_path / "out", options)
    assert "once more, asking fresh interpreters as well" in said
    assert (result.status, result.verified_runs) == ("reduced", 3)
    # Both: without sin no child fails, without relu no fresh interpreter does.
    assert "sin(" in result.text and "relu(" in result.text and "exp(" not in result.text
