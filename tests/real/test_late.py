"""A failure on an accelerator, which shows after the call that started it; see
tests/capturing/test_device.py for how the accelerator is played."""

import json
import os
import subprocess

import pytest
import torch

from command_kit import command

pytestmark = pytest.mark.skipif(
    torch.accelerator.is_available(), reason="the accelerator is played, which a real one ignores"
)

BACKEND = """
import torch

stopped = False

def synchronize(device=None):
    if stopped:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

torch.accelerator.synchronize = synchronize

def late(gm, inputs):
    bad = any(node.target is torch.relu for node in gm.graph.nodes)
    def run(*args):
        global stopped
        stopped = stopped or bad
        return gm(*args)
    return run
"""
SCRIPT = """
import torch
from played import late

@torch.compile(backend=late)
def f(x):
    for _ in range(5):
        x = torch.cos(x) + 1
    return torch.relu(x).sum()

@torch.compile(backend=late)
def g(x):
    return torch.sin(x)

y = f(torch.ones(3))
print(g(y))
torch.accelerator.synchronize()
"""


def run(tmp_path, script):
    """The backend belongs to a distribution that is installed, so that a repro imports it."""
    site, about = tmp_path / "site", tmp_path / "site" / "played-1.0.dist-info"
    about.mkdir(parents=True)
    (site / "played.py").write_text(BACKEND)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: played\nVersion: 1.0\n")
    (about / "RECORD").write_text("played.py,,\nplayed-1.0.dist-info/METADATA,,\n")
    (tmp_path / "script.py").write_text(script)
    return subprocess.run(
        command("run", "--jobs", "2", "--out", "out", "script.py"),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_the_repro_waits_for_the_accelerator(tmp_path):
    ended = run(tmp_path, SCRIPT)
    assert ended.returncode == 0, ended.stderr
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["status"] == "reduced"
    assert result["verified_runs"] == 1
    assert result["failure"]["exception"] == "AcceleratorError"
    assert result["operations"] == {"captured": 12, "final": 1}
    text = (tmp_path / "out" / "repro.py").read_text()
    assert "torch.relu(" in text
    assert "\ntorch.accelerator.synchronize()\n" in text
    changes = [one["change"] for one in result["necessary"]]
    assert "without waiting for the accelerator" in changes


def test_what_the_script_itself_does_on_an_accelerator_is_not_a_bug(tmp_path):
    own = "import played; y = torch.ones(3); played.stopped = True"
    ended = run(tmp_path, SCRIPT.replace("y = f(torch.ones(3))", own))
    assert ended.returncode == 1
    assert "Not a failure of the compiler." in ended.stderr
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["result.json"]
    assert json.loads((tmp_path / "out" / "result.json").read_text())["status"] == "not_a_bug"
