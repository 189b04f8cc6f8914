"""Crashes and hangs as failures: what is read from a dump, and what makes two of them the same."""

from __future__ import annotations

import signal

import pytest

from torchcrux.oracle import fatal
from torchcrux.oracle.deadly import BEGUN, COMPILING, EAGER_RAN, RUNNING, death
from torchcrux.oracle.failure import Failure, Kind, Stage
from torchcrux.oracle.fatal import During
from torchcrux.oracle.signature import why_different
from torchcrux.oracle.verify import Run, difference
from torchcrux.run.task import Outcome, Status

SITE = "/usr/lib/python3/site-packages"
DUMP = f"""Fatal Python error: Segmentation fault

Thread 0x00007f01 (most recent call first):
  File "/usr/lib/python3.11/threading.py", line 331 in wait

Current thread 0x00007f02 (most recent call first):
  File "{SITE}/torch/_inductor/scheduler.py", line 12 in fuse
  File "{SITE}/torch/_inductor/compile_fx.py", line 80 in compile_fx_inner
  File "{SITE}/torch/_dynamo/output_graph.py", line 20 in _call_user_compiler
  File "/somewhere/torchcrux/capturing/hook.py", line 3 in _compile
  File "/home/user/script.py", line 1 in <module>

Extension modules: numpy.core (total: 1)
"""


def crash(number=signal.SIGSEGV, during=During.COMPILE, dump=DUMP, **given):
    return fatal.crash(number=number, during=during, dump=dump, **given)


def different(a: Failure, b: Failure) -> str | None:
    return why_different(a, (), b, ())


def test_frames_are_those_of_the_thread_that_died_below_the_entry():
    assert fatal.frames_of(DUMP) == (
        "torch/_inductor/compile_fx.py:compile_fx_inner",
        "torch/_inductor/scheduler.py:fuse",
    )


def test_of_a_dump_without_a_dead_thread_the_compiling_one_counts():
    dump = DUMP.replace("Current thread", "Thread") + (
        "Thread 0x00007f03 (most recent call first):\n"
        '  File "/home/user/other.py", line 1 in main\n'
    )
    assert fatal.frames_of(dump)[-1] == "torch/_inductor/scheduler.py:fuse"


def test_no_dump_has_no_frames():
    assert fatal.frames_of("") == ()


@pytest.mark.parametrize(
    ("during", "dump", "stage"),
    [
        (During.COMPILE, DUMP, Stage.LOWERING),
        (During.COMPILE, "", Stage.BACKEND),
        (During.RUN, DUMP, Stage.RUN),
        (During.BACKWARD, DUMP, Stage.BACKWARD),
    ],
)
def test_stage(during, dump, stage):
    assert crash(during=during, dump=dump).stage is stage


def test_last_words_of_a_cpp_exception_are_kept_without_files():
    stderr = (
        "terminate called after throwing an instance of 'std::runtime_error'\n"
        "  what():  kernel, /tmp/t_root/ab/cabc.main.cpp:50, index out of bounds\n"
    )
    failure = crash(signal.SIGABRT, during=During.RUN, stderr=stderr)
    assert failure.message == "Aborted (kernel, index out of bounds)"


def test_failures_survive_json():
    for failure in (crash(), fatal.hang(seconds=3, during=During.RUN, dump=DUMP)):
        assert Failure.from_json(failure.to_json()) == failure


def test_same_crash():
    assert different(crash(), crash(stderr="what(): other words")) is None
    assert different(crash(), crash(dump="")) is None


@pytest.mark.parametrize(
    "other",
    [
        crash(signal.SIGABRT),
        crash(during=During.RUN),
        crash(dump=DUMP.replace("scheduler.py", "ir.py")),
        fatal.hang(seconds=3, during=During.COMPILE, dump=DUMP),
        fatal.crash(status=3, during=During.COMPILE),
    ],
    ids=["signal", "while running", "place", "hang", "exit"],
)
def test_another_crash(other):
    assert different(crash(), other) is not None


def test_exit_statuses_are_told_apart():
    one = fatal.crash(status=3, during=During.COMPILE)
    assert different(one, fatal.crash(status=3, during=During.COMPILE)) is None
    assert different(one, fatal.crash(status=4, during=During.COMPILE)) is not None


def test_a_hang_may_be_anywhere_in_its_loop():
    one = fatal.hang(seconds=60, during=During.COMPILE, dump=DUMP)
    two = fatal.hang(seconds=3, during=During.COMPILE, dump=DUMP.replace("scheduler.py", "ir.py"))
    assert different(one, two) is None
    assert different(one, fatal.hang(seconds=3, during=During.RUN)) is not None


def trail(path, *steps):
    path.write_text("".join(f"{step} 1.0\n" for step in steps))
    return path


def test_who_dies_in_eager_did_not_die_of_the_compiler(tmp_path):
    outcome = Outcome(Status.SIGNALLED, code=11)
    for steps in ((), (BEGUN,)):
        found = death(outcome, trail(tmp_path / "trail", *steps), 3)
        assert found.failure is None
        assert "eager" in found.reason
    assert death(outcome, tmp_path / "none", 3).failure is None


@pytest.mark.parametrize(
    ("steps", "during"),
    [((COMPILING,), "compile"), ((COMPILING, RUNNING), "run"), ((), "compile")],
)
def test_the_trail_tells_when_it_died(tmp_path, steps, during):
    path = trail(tmp_path / "trail", BEGUN, EAGER_RAN, *steps)
    found = death(Outcome(Status.SIGNALLED, code=11), path, 3)
    assert (found.failure.kind, found.failure.signal) == (Kind.CRASH, 11)
    assert found.failure.metric == {"during": during}


def test_a_watchdog_of_the_script_is_told_from_an_exit(tmp_path):
    path = trail(tmp_path / "trail", BEGUN, EAGER_RAN, COMPILING)
    stderr = "some words\nTimeout (0:00:03)!\n" + DUMP
    hung = death(Outcome(Status.EXITED, code=1, stderr=stderr), path, 3).failure
    assert (hung.kind, hung.frames[-1]) == (Kind.HANG, "torch/_inductor/scheduler.py:fuse")
    left = death(Outcome(Status.EXITED, code=1, stderr="some words\n"), path, 3).failure
    assert (left.kind, left.metric["status"]) == (Kind.CRASH, 1)
    assert death(Outcome(Status.TIMED_OUT), path, 3).failure.kind is Kind.HANG
    stumbled = Outcome(Status.SIGNALLED, code=11, seconds=3.1)
    assert death(stumbled, path, 3).failure.kind is Kind.HANG


def test_fresh_runs():
    assert difference(crash(), Run(-11, "")) is None
    assert difference(crash(), Run(-6, "")) is not None
    assert difference(fatal.crash(status=3, during=During.RUN), Run(3, "")) is None
    assert difference(fatal.crash(status=3, during=During.RUN), Run(4, "")) is not None
    hang = fatal.hang(seconds=3, during=During.RUN)
    assert difference(hang, Run(1, "Timeout (0:00:03)!\nThread 0x1")) is None
    assert difference(hang, Run(1, "Traceback (most recent call last):\n")) is not None
    assert difference(hang, Run(None, "")) is not None
