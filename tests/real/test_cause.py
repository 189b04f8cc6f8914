"""Wrong numbers whose cause shows in another way than they do."""

import json
import subprocess
import sys

SCRIPT = """
import torch
from torch import fx

class Narrowing(fx.Interpreter):
    def call_function(self, target, args, kwargs):
        out = super().call_function(target, args, kwargs)
        return out.half() if target is torch.relu else out

def narrowing(gm, inputs):
    return Narrowing(gm).run

def f(x):
    y = torch.relu(x * 3)
    for _ in range(6):
        x = torch.sin(x) + y.double() / 7
    return x, y

x = torch.linspace(0.1, 1, 9)
torch.testing.assert_close(torch.compile(f, backend=narrowing)(x), f(x))
"""


def test_a_wrong_dtype_that_was_seen_as_wrong_values_is_what_is_reduced(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    ended = subprocess.run(
        [sys.executable, "-m", "torchcrux", "run", "--jobs", "2", "--out", "out", "script.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    caught = json.loads((tmp_path / "out" / "case" / "case.json").read_text())
    assert caught["failure"]["metric"]["attribute"] == "values"
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["verified_runs"] == 3
    assert result["minimal"]
    assert result["operations"]["final"] == 1
    assert "attribute 'dtype'" in result["failure"]["message"]
    assert "torch.relu(" in (tmp_path / "out" / "repro.py").read_text()
