"""Everything that may die does, and no outcome is wrong or missing."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from run_kit import HERE, descriptors, eventually, is_dead, task

from torchcrux.run import PoolError, Status


def server_of(pool):
    (outcome,) = pool.run([task("shows_the_process")])
    return outcome.value["parent"]


def below(pid):
    """The children of `pid`, zombies among them."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def noted(file):
    return [int(pid) for line in file.read_text().splitlines() for pid in line.split()]


STORM = [
    ("echo", {"value": 1}, 30.0, Status.DONE, {"value": 1}),
    ("echo", {"value": 2}, 30.0, Status.DONE, {"value": 2}),
    ("echo", {"value": 3}, 30.0, Status.DONE, {"value": 3}),
    ("raises", {"text": "x"}, 30.0, Status.RAISED, None),
    ("exits", {"status": 3}, 30.0, Status.EXITED, 3),
    ("exits", {"status": 0}, 30.0, Status.EXITED, 0),
    ("signals_itself", {"signal": 9}, 30.0, Status.SIGNALLED, 9),
    ("signals_itself", {"signal": 6}, 30.0, Status.SIGNALLED, 6),
    ("reads_null", {}, 30.0, Status.SIGNALLED, 11),
    ("a_function_that_hangs", {}, 0.2, Status.TIMED_OUT, None),
    ("closes_all_descriptors", {}, 30.0, Status.EXITED, 74),
    ("loses_its_directory", {}, 30.0, Status.DONE, "done"),
    ("changes_nothing_but_forks", {}, 30.0, Status.DONE, "parent"),
    ("floods", {"lines": 300}, 30.0, Status.DONE, "flooded"),
    ("leaves_sleepers", {}, 30.0, Status.DONE, "left"),
]


def storm(seed, number):
    chosen = random.Random(seed).choices(STORM, weights=[8] * 3 + [1] * (len(STORM) - 3), k=number)
    return chosen, [task(name, timeout, **payload) for name, payload, timeout, _, _ in chosen]


def agrees(outcome, expected):
    _, _, _, status, detail = expected
    if outcome.status is not status:
        return False
    match status:
        case Status.DONE:
            return outcome.value == detail
        case Status.EXITED | Status.SIGNALLED:
            return outcome.code == detail
        case _:
            return True


def test_a_storm_of_tasks(make_pool, tmp_path):
    pool = make_pool(jobs=4)
    server = server_of(pool)
    ours, theirs = descriptors(), descriptors(server)
    chosen, tasks = storm(seed=0, number=500)
    outcomes = pool.run(tasks)
    wrong = [(e, o) for e, o in zip(chosen, outcomes, strict=True) if not agrees(o, e)]
    assert wrong == []
    assert server_of(pool) == server
    assert below(server) == []
    assert (descriptors(), descriptors(server)) == (ours, theirs)
    assert list(tmp_path.glob("scratch/*/*/*")) == []


def test_children_killed_from_outside_are_signalled_or_asked_again(make_pool):
    """A child killed before its task began tells nothing of the task; one killed later does."""
    pool = make_pool(jobs=4)
    server = server_of(pool)
    over = threading.Event()

    def hunt():
        chance = random.Random(1)
        while not over.is_set():
            for pid in below(server):
                if chance.random() < 0.3:
                    try:
                        os.kill(int(pid), signal.SIGKILL)
                    except ProcessLookupError:
                        continue
            time.sleep(0.003)

    hunter = threading.Thread(target=hunt)
    hunter.start()
    try:
        outcomes = pool.run([task("sleeps", seconds=0.005, index=index) for index in range(150)])
    finally:
        over.set()
        hunter.join()
    for index, outcome in enumerate(outcomes):
        match outcome.status:
            case Status.DONE:
                assert outcome.value["index"] == index
            case Status.SIGNALLED:
                assert outcome.code == signal.SIGKILL
            case other:
                assert other is Status.LOST
                assert "before the task began" in outcome.error
    assert {Status.DONE, Status.SIGNALLED} <= {outcome.status for outcome in outcomes}
    assert server_of(pool) == server
    assert below(server) == []


def test_the_server_is_killed_again_and_again(make_pool):
    """No outcome may be wrong; one may be lost only where the server died three times under it."""
    pool = make_pool(jobs=4)
    first = server_of(pool)
    over = threading.Event()
    killed = []

    def hunt():
        while not over.wait(0.5):
            server = pool._server
            if server is not None:
                killed.append(server.pid)
                with contextlib.suppress(ProcessLookupError):  # killed just before
                    os.kill(server.pid, signal.SIGKILL)

    hunter = threading.Thread(target=hunt)
    hunter.start()
    chosen, tasks = storm(seed=2, number=300)
    try:
        outcomes = pool.run(tasks)
    except PoolError:
        # The server was killed while it started: told as such, and the pool goes on.
        outcomes = None
    finally:
        over.set()
        hunter.join()
    assert first in killed
    if outcomes is not None:
        for expected, outcome in zip(chosen, outcomes, strict=True):
            assert agrees(outcome, expected) or outcome.status is Status.LOST
    assert pool.run([task("echo", value=1)])[0].value == {"value": 1}


def test_what_was_running_is_asked_again(pool, tmp_path):
    file = tmp_path / "noted"
    tasks = [task("notes_then_sleeps", file=str(file), seconds=0.3)] * 2

    def kill_when_noted():
        assert eventually(lambda: file.exists() and len(file.read_text().splitlines()) == 2)
        os.kill(noted(file)[0], signal.SIGKILL)

    killer = threading.Thread(target=kill_when_noted)
    killer.start()
    outcomes = pool.run(tasks)
    killer.join()
    assert [outcome.value for outcome in outcomes] == ["slept", "slept"]
    assert len(file.read_text().splitlines()) == 4
    assert all(is_dead(pid) for pid in noted(file)[:6])


def test_a_task_that_kills_the_server_takes_no_other_along(make_pool):
    pool = make_pool(jobs=4)
    tasks = [task("sleeps", seconds=0.05, index=index) for index in range(12)]
    tasks[5] = task("kills_the_server")
    outcomes = pool.run(tasks)
    assert outcomes.pop(5).status is Status.LOST
    assert {outcome.status for outcome in outcomes} == {Status.DONE}


def test_a_server_that_cannot_start_says_why(make_pool):
    pool = make_pool(preload=["a_module_that_is_not_there"])
    with pytest.raises(PoolError, match="No module named 'a_module_that_is_not_there'"):
        pool.run([task("echo")])


def test_another_torchcrux_on_the_path_is_not_the_server(make_pool, tmp_path):
    other = tmp_path / "elsewhere" / "torchcrux"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("raise ImportError('the wrong one')")
    pool = make_pool(env={"PYTHONPATH": f"{other.parent}:{HERE}"})
    assert pool.run([task("echo", value=1)])[0].value == {"value": 1}


def test_preloaded_modules_are_shared(make_pool):
    pool = make_pool(preload=["tasks_of_tests"])
    first, second = pool.run([task("changes_the_process"), task("shows_the_process")])
    assert first.status is Status.DONE
    assert second.value["state"] == []


def test_a_closed_pool_says_so(pool):
    pool.close()
    pool.close()
    with pytest.raises(PoolError, match="closed"):
        pool.run([])


def test_a_pool_that_is_closed_at_once(make_pool):
    pool = make_pool()
    server = pool._server.pid
    pool.close()
    assert is_dead(server)


def test_a_payload_that_is_not_json(pool):
    with pytest.raises(TypeError):
        pool.run([task("echo", value=object())])
    assert pool.run([task("echo")])[0].status is Status.DONE


PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from run_kit import task
from torchcrux.run import Pool
with Pool(jobs=2, env={"PYTHONPATH": sys.argv[1]}, scratch=Path(sys.argv[2])) as pool:
    try:
        pool.run([task("notes_then_sleeps", file=sys.argv[3], seconds=60)] * 2)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


def start_main(scratch, file):
    scratch.mkdir()
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, HERE, str(scratch), str(file)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # what runs in the background of a shell ignores Ctrl-C, and so do its children
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_nothing_outlives_the_main_process(tmp_path, number):
    scratch, file = tmp_path / "scratch", tmp_path / "noted"
    main = start_main(scratch, file)
    try:
        assert eventually(lambda: file.exists() and len(file.read_text().splitlines()) == 2)
        os.killpg(main.pid, number)
        printed, _ = main.communicate()
    finally:
        main.kill()
        main.wait()
    assert printed == ("interrupted\n" if number == signal.SIGINT else "")
    pids = noted(file)
    assert eventually(lambda: all(is_dead(pid) for pid in pids)), pids
    assert eventually(lambda: list(scratch.iterdir()) == [])


def test_children_die_with_the_server_when_nobody_else_can_end_them(tmp_path):
    file = tmp_path / "noted"
    main = start_main(tmp_path / "scratch", file)
    try:
        assert eventually(lambda: file.exists() and len(file.read_text().splitlines()) == 2)
        server, first, one_sleeper, _, second, other_sleeper = noted(file)
        os.kill(main.pid, signal.SIGSTOP)
        os.kill(server, signal.SIGKILL)
        assert eventually(lambda: is_dead(first) and is_dead(second))
    finally:
        main.kill()
        main.communicate()
    for sleeper in (one_sleeper, other_sleeper):
        os.kill(sleeper, signal.SIGKILL)
