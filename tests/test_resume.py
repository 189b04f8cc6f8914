"""What a reduction survives: its own death, that of its children, a second one, Ctrl-C."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from command_kit import command
from torchcrux.run import processes

pytestmark = pytest.mark.real

SCRIPT = """
import torch

def picky(gm, inputs):
    names = " ".join(str(node.target) for node in gm.graph.nodes)
    if "erf" in names and "cos" in names:
        raise RuntimeError("internal error")
    return gm.forward

def f(x):
    for i in range(40):
        x = torch.erf(x) if i == 7 else torch.cos(x) if i == 31 else torch.tanh(x) + 1
    return x

torch.compile(f, backend=picky)(torch.randn(4, 4))
"""
ENOUGH = 4
"""Answers after which a run is disturbed; there are some forty."""


def start(folder, *args, as_typed=False):
    return subprocess.Popen(
        command(*args, as_typed=as_typed),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        preexec_fn=with_ctrl_c,
    )


def with_ctrl_c():
    """What runs in the background of a shell ignores Ctrl-C, and so do its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def finish(process):
    output, _ = process.communicate(timeout=300)
    return process.returncode, output


def keys(out):
    journal = out / "case" / "journal.jsonl"
    lines = journal.read_bytes().split(b"\n")[:-1] if journal.exists() else []
    return [json.loads(line)["key"] for line in lines]


def until_answered(out, process, count=ENOUGH):
    until = time.monotonic() + 120
    while len(keys(out)) < count:
        assert process.poll() is None and time.monotonic() < until, finish(process)
        time.sleep(0.02)


def is_server(pid):
    """Rather than the script, which may still wind down, or a fresh interpreter that verifies."""
    try:
        return b"torchcrux.run.server" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return False


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run with four jobs, in which a child was killed."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "train.py").write_text(SCRIPT)
    process = start(folder, "run", "--jobs", "4", "--out", "out", "train.py")
    until_answered(folder / "out", process)
    (server,) = filter(is_server, processes.children(process.pid))
    until = time.monotonic() + 60
    while not (children := processes.children(server)):
        assert time.monotonic() < until
    os.kill(children[0], signal.SIGKILL)
    status, output = finish(process)
    assert status == 0, output
    return folder / "out"


def again(whole, tmp_path):
    """The same case, of which nothing was asked yet."""
    shutil.copytree(whole / "case", tmp_path / "out" / "case")
    for name in ("journal.jsonl", "journal.jsonl.lock", "final.json"):
        (tmp_path / "out" / "case" / name).unlink(missing_ok=True)
    return tmp_path / "out"


def test_a_killed_run_goes_on_with_one_job_and_ends_at_the_same_repro(whole, tmp_path):
    out = again(whole, tmp_path)
    first = start(tmp_path, "reduce", "--jobs", "1", "out")
    until_answered(out, first)
    below = processes.descendants(first.pid)
    first.kill()
    finish(first)
    answered = keys(out)
    until = time.monotonic() + 20
    while not all(map(processes.is_dead, below)):
        assert time.monotonic() < until
        time.sleep(0.05)
    status, output = finish(start(tmp_path, "reduce", "--jobs", "1", "out"))
    assert status == 0, output
    asked = keys(out)
    assert asked[: len(answered)] == answered
    assert len(set(asked)) == len(asked)
    assert sorted(asked) == sorted(keys(whole))
    assert (out / "repro.py").read_bytes() == (whole / "repro.py").read_bytes()


@pytest.mark.parametrize(
    ("number", "as_typed", "verified"), [(signal.SIGINT, True, 3), (signal.SIGTERM, False, 1)]
)
def test_a_second_run_says_so_and_an_interrupt_leaves_the_best_so_far(
    whole, tmp_path, number, as_typed, verified
):
    out = again(whole, tmp_path)
    first = start(tmp_path, "reduce", "--jobs", "2", "out", as_typed=as_typed)
    until_answered(out, first, count=20)
    first.send_signal(signal.SIGSTOP)  # lest it be done before it is interrupted
    status, output = finish(start(tmp_path, "reduce", "out"))
    assert status not in (0, 4) and str(first.pid) in output, output
    first.send_signal(number)
    first.send_signal(signal.SIGCONT)
    status, output = finish(first)
    assert status == 4, output
    result = json.loads((out / "result.json").read_text())
    assert (result["status"], result["verified_runs"]) == ("stopped_early", verified)
    assert not result["minimal"]
    run = subprocess.run([sys.executable, "repro.py"], cwd=out, capture_output=True, text=True)
    assert run.returncode and "internal error" in run.stderr


def test_the_script_does_not_outlive_what_runs_it(tmp_path):
    """The signal that ends a batch job reaches us alone."""
    (tmp_path / "train.py").write_text(
        "import os, pathlib, time\n"
        "pathlib.Path('new').write_text(str(os.getpid()))\n"
        "os.rename('new', 'pid')\n"
        "time.sleep(300)\n"
    )
    run = start(tmp_path, "run", "train.py", as_typed=True)
    until = time.monotonic() + 120
    while not (tmp_path / "pid").exists():
        assert run.poll() is None and time.monotonic() < until, finish(run)
        time.sleep(0.02)
    run.send_signal(signal.SIGTERM)
    status, output = finish(run)
    assert status == 3 and "Interrupted" in output, output
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_the_repro_of_a_whole_run_is_small(whole):
    result = json.loads((Path(whole) / "result.json").read_text())
    assert result["operations"]["final"] == 2 and result["minimal"]
