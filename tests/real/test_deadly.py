"""From a program that dies, hangs or fails now and then to a verified repro."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from command_kit import command

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("warm_start")]

BACKENDS = """
import os, random, signal, time
import torch

def uses(gm, name):
    return any(name in str(node.target) for node in gm.graph.nodes)

def dies(gm, inputs):
    if uses(gm, "relu"):
        os.kill(os.getpid(), signal.SIGSEGV)
    return gm

def dies_of_values(gm, inputs):
    def run(*args):
        if uses(gm, "relu") and any(bool((x > 1000).any()) for x in args):
            os.kill(os.getpid(), signal.SIGABRT)
        return gm(*args)
    return run

def divides(gm, inputs):
    rounded = any("rounding_mode" in node.kwargs for node in gm.graph.nodes)
    def run(*args):
        if rounded and (uses(gm, "pad") or bool((args[-1] == 0).any())):
            os.kill(os.getpid(), signal.SIGFPE)
        return gm(*args)
    return run

def exits(gm, inputs):
    if uses(gm, "relu"):
        os._exit(7)
    return gm

def hangs(gm, inputs):
    while uses(gm, "relu"):
        time.sleep(0.01)
    return gm

class Unlucky(Exception):
    pass

def unlucky(gm, inputs):
    if uses(gm, "relu") and random.SystemRandom().random() < 0.6:
        raise Unlucky("the registry has changed")
    return gm
"""
SCRIPT = """
import torch
from backends import {backend}

def f(x, y):
    z = torch.sin(x) + y
    for _ in range(8):
        z = torch.cos(z) * y
    return torch.sum(torch.relu(z) + x)

with torch.no_grad():
    torch.compile(f, backend={backend})(torch.ones(4) * {scale}, torch.ones(4))
"""


@pytest.fixture
def reduce(tmp_path, run_here):
    (tmp_path / "backends.py").write_text(BACKENDS)

    def reduced(backend, *args, scale=1, as_typed=False):
        (tmp_path / "script.py").write_text(SCRIPT.format(backend=backend, scale=scale))
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        options = ("--jobs", "2", "--out", "out", *args)
        arguments = ("run", *options, "script.py")
        if as_typed:
            ended = subprocess.run(
                command(*arguments, as_typed=True),
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=400,
                check=False,
            )
        else:
            ended = run_here(tmp_path, *arguments)
        assert ended.returncode in (0, 1), ended.stderr
        repro, result = tmp_path / "out" / "repro.py", tmp_path / "out" / "result.json"
        if not repro.exists():  # nothing has failed
            return None, "", ended.stderr
        return json.loads(result.read_text()), repro.read_text(), ended.stderr

    return reduced


def test_crash_while_compiling(reduce):
    result, text, _ = reduce("dies", as_typed=True)
    assert result["status"] == "reduced"
    assert result["verified_runs"] == 3
    assert (result["failure"]["kind"], result["failure"]["signal"]) == ("crash", 11)
    assert result["operations"]["final"] == 1
    assert "torch.relu(" in text
    assert "# SIGSEGV: Segmentation fault" in text


def test_crash_while_running_that_needs_the_values(reduce):
    result, text, stderr = reduce("dies_of_values", scale=5000)
    assert result["status"] == "reduced"
    assert (result["failure"]["kind"], result["failure"]["signal"]) == ("crash", 6)
    assert result["failure"]["stage"] == "run"
    assert "torch.relu(" in text
    assert "Running the script again" in stderr


DIVISION = """
import torch
from backends import divides

def f(x, n):
    return torch.nn.functional.pad(torch.div(x, n, rounding_mode="trunc"), (0, 2)) * 2

torch.compile(f, backend=divides)(torch.tensor([7, 8, 9]), torch.tensor([3, 2, 1]))
"""


def test_crash_with_values_that_eager_does_not_refuse(tmp_path, run_here):
    """Zeros would crash as well, but not without a reason."""
    (tmp_path / "backends.py").write_text(BACKENDS)
    (tmp_path / "script.py").write_text(DIVISION)
    ended = run_here(tmp_path, "run", "--jobs", "2", "--out", "out", "script.py")
    assert ended.returncode == 0, ended.stderr
    assert "pad(" in (tmp_path / "out" / "repro.py").read_text()


def test_exit(reduce):
    result, _, _ = reduce("exits")
    assert result["status"] == "reduced"
    assert result["failure"]["kind"] == "crash"
    assert result["operations"]["final"] == 1


def test_hang(reduce):
    result, text, stderr = reduce("hangs", "--timeout", "4")
    assert result["status"] == "reduced"
    assert result["verified_runs"] == 1
    assert result["failure"]["kind"] == "hang"
    assert result["operations"]["final"] == 1
    assert "faulthandler.dump_traceback_later(4, exit=True)" in text
    assert "Ending the script" in stderr


def test_flaky(reduce):
    for _ in range(12):  # the script itself may be lucky, or fail each time it is repeated
        result, text, stderr = reduce("unlucky")
        if result is not None and "frequency" in result:
            break
    assert result["status"] == "reduced"
    assert result["operations"]["final"] == 1
    assert result["failure"]["exception"] == "Unlucky"
    assert "torch.relu(" in text
    assert "torch.compiler.reset()" in text
    assert f"it failed {result['frequency']} times" in stderr
