import os
import signal
import subprocess
import sys

import pytest
from run_kit import eventually

from torchcrux.run import limits, processes


@pytest.fixture(params=["listed by the kernel", "found in /proc"])
def way(request, monkeypatch):
    listed = request.param == "listed by the kernel"
    monkeypatch.setattr(processes, "_kernel_lists_children", lambda: listed)


@pytest.fixture
def family(way):
    """A process, its child, and its grandchild."""
    nested = "import subprocess, sys; subprocess.run([sys.executable, '-c', {!r}])"
    program = nested.format("import subprocess; subprocess.run(['sleep', '600'])")
    with subprocess.Popen([sys.executable, "-c", program], start_new_session=True) as top:
        try:
            assert eventually(lambda: len(processes.descendants(top.pid)) == 2)
            yield top.pid
        finally:
            processes.kill(processes.with_descendants([top.pid]))


def test_descendants(family):
    child, grandchild = processes.descendants(family)
    assert processes.children(family) == [child]
    assert processes.children(child) == [grandchild]
    assert family in processes.children(os.getpid())


def test_who_sleeps_is_not_at_work():
    child = "while True: pass"
    parent = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {child!r}])"
    with subprocess.Popen([sys.executable, "-c", parent]) as top:
        try:
            assert eventually(lambda: processes.is_at_work_below(top.pid))
            (below,) = processes.descendants(top.pid)
            os.kill(below, signal.SIGSTOP)
            assert eventually(lambda: not processes.is_at_work_below(top.pid))
            assert not processes.is_at_work_below(below)
        finally:
            processes.kill(processes.with_descendants([top.pid]))


def test_who_shares_a_core_waits_for_it():
    core = min(os.sched_getaffinity(0))
    busy = f"import os; os.sched_setaffinity(0, {{{core}}})\nwhile True: pass"
    pair = [subprocess.Popen([sys.executable, "-c", busy]) for _ in range(2)]
    try:
        assert eventually(lambda: sum(processes.queued(pair[0].pid).values()) > 0.1)
        assert pair[0].pid in processes.queued(os.getpid())
    finally:
        for one in pair:
            one.kill()
            one.wait()
    assert processes.queued(pair[0].pid) == {}


def test_killing_a_family_spares_the_caller(family):
    pids = processes.with_descendants([family])
    processes.kill(pids)
    assert eventually(lambda: all(processes.is_dead(pid) for pid in pids))


def test_memory(family):
    assert 0 < processes.proportional(family) <= processes.resident(family)
    assert processes.resident(family) <= processes.peak(family)


def test_a_process_that_is_gone_counts_as_nothing(way):
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert processes.descendants(gone.pid) == []
    assert processes.resident(gone.pid) == processes.proportional(gone.pid) == 0
    assert processes.peak(gone.pid) is None
    assert processes.is_dead(gone.pid)
    processes.kill([gone.pid])


def test_marked_processes_are_found_and_others_are_not():
    env = {**os.environ, "MARK_OF_A_TEST": "1"}
    with subprocess.Popen(["sleep", "600"], env=env, start_new_session=True) as marked:
        with subprocess.Popen(["sleep", "600"]) as other:
            try:
                # Before it has executed its program, a child still has our environment.
                assert eventually(lambda: processes._has("MARK_OF_A_TEST=1", marked.pid))
                processes.kill_marked("MARK_OF_A_TEST=1")
                assert marked.wait() == -9
                assert other.poll() is None
            finally:
                marked.kill()
                other.kill()


def test_jobs_fit_the_machine():
    assert 1 <= limits.default_jobs() <= min(limits.MOST_JOBS, len(os.sched_getaffinity(0)))


@pytest.mark.parametrize(("available", "jobs"), [(0, 1), (2**31, 1), (2**40, None)])
def test_jobs_fit_the_memory(monkeypatch, available, jobs):
    monkeypatch.setattr(limits, "available_memory", lambda: available)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(64))
    assert limits.default_jobs() == (jobs or limits.MOST_JOBS)


def test_children_that_need_much_are_fewer(monkeypatch):
    monkeypatch.setattr(limits, "available_memory", lambda: 16 * 2**30)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(8))
    assert [limits.default_jobs(gib * 2**30) for gib in (0, 1, 3, 7, 40)] == [8, 8, 4, 2, 1]
    # Four times half a GiB, and what torch itself and a compiler need.
    assert limits.default_jobs(2**30, times=4) == 4
