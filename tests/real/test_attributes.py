"""Outputs of the right values that differ from eager's otherwise, and tolerances of the user's."""

from __future__ import annotations

import json

import pytest

from torchcrux.capturing.script import Ending, run_script
from torchcrux.oracle.failure import Kind

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("warm_start")]

SCRIPTS = {
    "stride": (
        """
def change(out):
    return out.contiguous() if out.dim() == 2 else out

def f(x):
    y = torch.relu(x).sin()
    return y.t(), y.flatten() + 1

x = torch.randn(3, 4)
given = torch.compile(f, backend=backend)(x)
assert given[0].stride() == f(x)[0].stride()
""",
        "check_stride=True",
        "x.t()",
    ),
    "requires_grad": (
        """
def change(out):
    return out.detach()

def f(x, w):
    return torch.relu(x @ w).cos() + 1

w = torch.randn(4, 4, requires_grad=True)
torch.compile(f, backend=backend)(torch.randn(3, 4), w).sum().backward()
""",
        "actual.requires_grad, expected.requires_grad",
        "requires_grad=True",
    ),
    "aliases": (
        """
def change(out):
    return out.clone()

def f(x):
    return x[1:].view(-1), x.sin().sum()

x = torch.randn(3, 4)
torch.compile(f, backend=backend)(x)[0].zero_()
assert x[1:].eq(0).all()
""",
        "torch._C._is_alias_of(actual, x)",
        "x",
    ),
}
BACKEND = """
import torch

def backend(gm, inputs):
    return lambda *args: tuple(change(out) for out in gm(*args))
"""


@pytest.fixture
def run(tmp_path, run_here):
    def run(text, *options):
        (tmp_path / "script.py").write_text(BACKEND + text)
        done = run_here(tmp_path, "run", *options, "--out", "out", "script.py")
        return done, tmp_path / "out"

    return run


def test_what_differs_is_looked_for_when_the_values_are_right(run):
    script, compared, kept = SCRIPTS["stride"]
    done, out = run(script)
    assert done.returncode == 0, done.stderr
    result = json.loads((out / "result.json").read_text())
    assert result["failure"]["kind"] == "accuracy"
    assert (result["operations"]["final"], result["minimal"]) == (1, True)
    text = (out / "repro.py").read_text()
    assert compared in text and kept in text


@pytest.mark.parametrize("name", ["requires_grad", "aliases"])
def test_what_differs_is_compared_in_the_repro(name, reduced):
    script, compared, kept = SCRIPTS[name]
    _, result = reduced(BACKEND + script, check="attributes")
    assert (result.status, result.failure.kind) == ("reduced", Kind.ACCURACY)
    assert (result.operations.final, result.minimal) == (1, True)
    assert compared in result.text and kept in result.text


WRITTEN = """
import torch

def f(x):
    y = x.cos() * 2
    y.unsqueeze_(0)
    return y

x = torch.ones(2, requires_grad=True)
torch.compile(f, backend="aot_eager")(x).mul_(2)
"""


def test_what_fails_when_the_output_is_written_to(run):
    done, out = run(WRITTEN)
    assert done.returncode == 0, done.stderr
    result = json.loads((out / "result.json").read_text())
    assert result["failure"]["kind"] == "runtime_error"
    assert result["operations"]["final"] == 2
    assert ").mul_(1)\n" in (out / "repro.py").read_text()


SLIGHTLY = """
def change(out):
    return out * 1.000002

def f(x):
    return torch.relu(x).sin()

torch.compile(f, backend=backend)(torch.linspace(0.5, 1.0, 4))
"""


def test_the_tolerance_of_the_user_decides(tmp_path, run):
    options = ("--check", "accuracy", "--rtol", "0", "--atol", "1e-7")
    strict, out = run(SLIGHTLY, *options)
    loose = run_script(
        str(tmp_path / "script.py"), (), check="accuracy:0.001:0.0", folder=tmp_path / "caught"
    )
    assert loose.ending is Ending.PASSED, loose
    assert strict.returncode == 0, strict.stderr
    assert "(actual, expected, rtol=0, atol=1e-07)" in (out / "repro.py").read_text()


def test_one_tolerance_alone_is_refused(run):
    done, _ = run(SLIGHTLY, "--rtol", "0.1")
    assert done.returncode == 2
    assert "go together" in done.stderr
