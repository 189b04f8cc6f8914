"""A program that dies, or hangs, in the hands of a compiler leaves a case behind."""

from __future__ import annotations

import os
import signal
import time

import pytest

from torchcrux.capturing import ended, standby
from torchcrux.capturing.script import Ending, run_script
from torchcrux.oracle.failure import Kind, Stage
from torchcrux.oracle.fatal import During
from torchcrux.run import processes

pytestmark = pytest.mark.usefixtures("warm_start")

BACKENDS = """
import os, signal, sys, time
import torch

def dies_compiling(gm, inputs):
    os.kill(os.getpid(), signal.SIGSEGV)

def dies_running(gm, inputs):
    def run(*args):
        if args[0].sum() > 1000:
            os.kill(os.getpid(), signal.SIGABRT)
        return gm(*args)
    return run

def exits(gm, inputs):
    os._exit(3)

def hangs(gm, inputs):
    while True:
        time.sleep(0.01)

def f(x, y):
    return torch.relu(x) + y

x, y = torch.ones(4), torch.ones(4)
"""


def test_a_crash_while_compiling_leaves_its_graph(scripts):
    caught = scripts.run(BACKENDS + "torch.compile(f, backend=dies_compiling)(x, y)\n")
    assert caught.ending is Ending.CAUGHT
    assert caught.status == 128 + signal.SIGSEGV
    failure = caught.case.failure
    assert (failure.kind, failure.stage) == (Kind.CRASH, Stage.BACKEND)
    assert failure.signal == signal.SIGSEGV
    assert (failure.exception, failure.message) == ("SIGSEGV", "Segmentation fault")
    assert failure.frames[-1].endswith(":dies_compiling")
    assert [node.target for node in caught.case.program.calls] == ["torch.relu", "operator.add"]
    assert caught.case.stored == frozenset()


def test_a_crash_while_running_leaves_its_graph_and_the_way_to_its_inputs(scripts):
    text = BACKENDS + (
        "g = torch.compile(f, backend=dies_running)\ng(x, y)\ng(x, y)\ng(x * 500, y)\n"
    )
    caught = scripts.run(text)
    assert caught.case.failure.kind is Kind.CRASH
    assert caught.case.failure.stage is Stage.RUN
    assert caught.case.failure.signal == signal.SIGABRT
    assert caught.keep == standby.Keep(1, 3)

    path = scripts.write("again.py", text)
    again = run_script(str(path), (), folder=scripts.folder / "again", keep=caught.keep)
    assert again.case.stored == {"l_x_", "l_y_"}
    assert again.case.tensors()["l_x_"].tolist() == [500.0] * 4
    assert again.keep is None


def test_the_second_graph_is_the_one_that_dies(scripts):
    caught = scripts.run(
        BACKENDS
        + "torch.compile(torch.sin, backend='eager')(x)\n"
        + "torch.compile(f, backend=dies_compiling)(x, y)\n"
    )
    assert [node.target for node in caught.case.program.calls] == ["torch.relu", "operator.add"]


def test_an_exit_inside_the_compiler_is_a_crash(scripts):
    caught = scripts.run(BACKENDS + "torch.compile(f, backend=exits)(x, y)\n")
    failure = caught.case.failure
    assert failure.kind is Kind.CRASH
    assert (failure.signal, failure.metric["status"]) == (None, 3)


@pytest.mark.parametrize(
    "end",
    ["os._exit(3)", "os.kill(os.getpid(), signal.SIGSEGV)", "os.kill(os.getpid(), signal.SIGTERM)"],
)
def test_an_end_outside_the_compiler_is_none_of_its_business(scripts, end):
    caught = scripts.run(BACKENDS + f"torch.compile(f, backend='eager')(x, y)\n{end}\n")
    assert caught.case is None
    assert caught.graphs == 1


def test_a_crash_in_backward_is_told_from_one_in_forward(scripts):
    caught = scripts.run(
        BACKENDS
        + """
from torch._dynamo.backends.common import aot_autograd

def forward(gm, inputs):
    return gm

def backward(gm, inputs):
    def run(*args):
        os.kill(os.getpid(), signal.SIGFPE)
    return run

backend = aot_autograd(fw_compiler=forward, bw_compiler=backward)
x.requires_grad_()
out = torch.compile(f, backend=backend)(x, y)
out.sum().backward()
"""
    )
    assert caught.case.failure.signal == signal.SIGFPE
    assert caught.case.failure.stage is Stage.BACKWARD
    assert caught.case.context.backward


def test_a_forked_child_that_dies_is_not_taken_for_the_program(scripts):
    caught = scripts.run(
        BACKENDS
        + """
pid = os.fork()
if pid == 0:
    torch.compile(f, backend=dies_compiling)(x, y)
assert os.waitpid(pid, 0)[1] == signal.SIGSEGV
"""
    )
    assert caught.case is None
    assert caught.status == 0


def test_a_hang_is_noticed_and_only_the_program_is_ended(scripts):
    said = []
    path = scripts.write(
        "hang.py",
        BACKENDS
        + """
import subprocess
child = subprocess.Popen(["sleep", "60"])
with open("child.pid", "w") as file:
    file.write(str(child.pid))
torch.compile(f, backend=hangs)(x, y)
""",
    )
    before = os.getcwd()
    os.chdir(scripts.folder)
    try:
        caught = run_script(
            str(path), (), folder=scripts.folder / "hung", hangs=True, limit=2, say=said.append
        )
    finally:
        os.chdir(before)
    child = int((scripts.folder / "child.pid").read_text())
    os.kill(child, signal.SIGKILL)  # raises if it was not alive
    failure = caught.case.failure
    assert failure.kind is Kind.HANG
    assert failure.metric == {"during": "compile", "seconds": 2}
    assert failure.frames[-1].endswith(":hangs")
    assert any("2 s" in text for text in said)


def test_frames_asked_for_by_the_program_itself_stay_its_own(scripts):
    path = scripts.write(
        "own.py",
        BACKENDS
        + """
import faulthandler
faulthandler.enable(file=open("own.txt", "w"))
torch.compile(f, backend=dies_compiling)(x, y)
""",
    )
    before = os.getcwd()
    os.chdir(scripts.folder)
    try:
        caught = run_script(str(path), (), folder=scripts.folder / "own")
    finally:
        os.chdir(before)
    assert "dies_compiling" in (scripts.folder / "own.txt").read_text()
    assert caught.case.failure.signal == signal.SIGSEGV
    assert caught.case.failure.frames == ()


def test_time_without_a_core_does_not_count(tmp_path, monkeypatch):
    page = standby.Standby(tmp_path)
    page.begin(1, During.COMPILE, operations=1)
    queued = {7: 0.0, 8: 50.0}
    monkeypatch.setattr(processes, "queued", lambda pid: dict(queued))
    monkeypatch.setattr(processes, "is_at_work_below", lambda pid: False)
    now = standby.activity(tmp_path).begin
    monkeypatch.setattr(time, "monotonic", lambda: now)
    clock = ended.Clock(1, standby.activity(tmp_path))
    now += 10.0
    assert clock.taken() == pytest.approx(10.0)
    now += 10.0
    queued.update({7: 6.0, 8: 54.0, 9: 100.0})  # 9 is new: when it waited is not known
    assert clock.taken() == pytest.approx(14.0)
    now += 80.0
    queued[7] = 86.0
    assert clock.taken() == pytest.approx(100.0 / ended.MOST_CROWDED)


def test_time_of_a_compiler_that_it_has_started_does_not_count(tmp_path, monkeypatch):
    page = standby.Standby(tmp_path)
    page.begin(1, During.COMPILE, operations=1)
    at_work = True
    monkeypatch.setattr(processes, "queued", lambda pid: {})
    monkeypatch.setattr(processes, "is_at_work_below", lambda pid: at_work)
    now = standby.activity(tmp_path).begin
    monkeypatch.setattr(time, "monotonic", lambda: now)
    clock = ended.Clock(1, standby.activity(tmp_path))
    now += 10.0
    assert clock.taken() == pytest.approx(10.0 / ended.MOST_CROWDED)
    at_work = False
    now += 10.0
    assert clock.taken() == pytest.approx(10.0)


def test_the_page_returns_to_what_was_going_on(tmp_path):
    page = standby.Standby(tmp_path)
    assert standby.activity(tmp_path) is None
    outer = page.begin(1, During.RUN)
    inner = page.begin(2, During.COMPILE, operations=10_000)
    seen = standby.activity(tmp_path)
    assert (seen.graph, seen.during, seen.calls) == (2, During.COMPILE, 0)
    assert seen.limit == 10_000 * standby.PER_OPERATION
    assert seen.begin <= time.monotonic()
    page.end(inner)
    assert standby.activity(tmp_path).graph == 1
    page.end(outer)
    assert standby.activity(tmp_path) is None
    page.begin(1, During.RUN)
    assert standby.activity(tmp_path).calls == 2
