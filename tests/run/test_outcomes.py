"""What a task does, and what the pool says of it."""

import os
import signal

import pytest
from run_kit import eventually, is_dead, task

from torchcrux.run import PoolError, Status, Task


def only(pool, *arguments, **payload):
    (outcome,) = pool.run([task(*arguments, **payload)])
    return outcome


def test_the_value_comes_back(pool):
    value = {"text": "ä\x00\ud800", "list": [1, 2.5, None, True], "large": "x" * 10**6}
    outcome = only(pool, "echo", **value)
    assert (outcome.status, outcome.value) == (Status.DONE, value)
    assert outcome.seconds > 0
    assert outcome.peak_memory > 2**20


def test_outcomes_are_in_the_order_of_the_tasks(pool):
    tasks = [task("sleeps", seconds=0.1 * (index % 2), index=index) for index in range(8)]
    assert [outcome.value["index"] for outcome in pool.run(tasks)] == list(range(8))


def test_no_tasks_no_outcomes(pool):
    assert pool.run([]) == []


def test_an_exception_brings_its_traceback(pool):
    outcome = only(pool, "raises", text="this one")
    assert outcome.status is Status.RAISED
    assert "ValueError: this one" in outcome.error
    assert "in raises" in outcome.error


def test_a_value_that_is_not_json_is_an_exception(pool):
    outcome = only(pool, "not_json")
    assert outcome.status is Status.RAISED
    assert "not JSON serializable" in outcome.error


@pytest.mark.parametrize("name", ["tasks_of_tests:absent", "absent:f", "tasks_of_tests:STATE"])
def test_a_callable_that_is_not_there_is_our_mistake(pool, name):
    (outcome,) = pool.run([Task(name, {})])
    assert outcome.status is Status.LOST


@pytest.mark.parametrize("status", [0, 3])
def test_an_early_exit(pool, status):
    outcome = only(pool, "exits", status=status)
    assert (outcome.status, outcome.code) == (Status.EXITED, status)


@pytest.mark.parametrize(("argument", "status"), [(None, 0), (3, 3), (-1, 255), ("why", 1)])
def test_sys_exit(pool, argument, status):
    outcome = only(pool, "sys_exits", status=argument)
    assert (outcome.status, outcome.code) == (Status.EXITED, status)
    assert ("why" in outcome.stderr) == (argument == "why")


def test_a_segmentation_fault_shows_where(pool):
    outcome = only(pool, "reads_null")
    assert (outcome.status, outcome.code) == (Status.SIGNALLED, signal.SIGSEGV)
    assert "in reads_null" in outcome.stack


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGRTMAX - 1])
def test_a_signal(pool, number):
    outcome = only(pool, "signals_itself", signal=int(number))
    assert (outcome.status, outcome.code) == (Status.SIGNALLED, number)


def test_a_hang_shows_where(pool):
    outcome = only(pool, "a_function_that_hangs", timeout=0.3)
    assert outcome.status is Status.TIMED_OUT
    assert "in a_function_that_hangs" in outcome.stack
    assert "0.3 s" in outcome.error


def test_a_stopped_child_is_a_hang(pool):
    assert only(pool, "signals_itself", 0.3, signal=int(signal.SIGSTOP)).status is Status.TIMED_OUT


def test_output_is_kept_apart(pool):
    first, second = pool.run([task("prints", text="one"), task("prints", text="two")])
    assert (first.stdout, first.stderr) == ("one\n", "one\n")
    assert (second.stdout, second.stderr) == ("two\n", "two\n")
    assert only(pool, "prints_by_libc").stdout == "by libc"


def test_of_a_flood_the_end_is_kept(pool):
    outcome = only(pool, "floods", lines=50_000)
    assert (outcome.status, outcome.value) == (Status.DONE, "flooded")
    assert outcome.stdout.endswith("the end\n")
    assert len(outcome.stdout) == 2**16


def test_closed_descriptors_are_no_result(pool):
    assert only(pool, "closes_the_usual_descriptors").value == "heard"
    for name in ("closes_all_descriptors", "closes_and_reopens"):
        outcome = only(pool, name)
        assert (outcome.status, outcome.code) == (Status.EXITED, 74)


def test_too_much_memory(make_pool):
    outcome = only(make_pool(memory=200 * 2**20), "eats_memory")
    assert outcome.status is Status.OUT_OF_MEMORY
    assert str(200 * 2**20) in outcome.error


def test_too_many_processes(pool):
    outcome = only(pool, "leaves_many", number=300)
    assert outcome.status is Status.OUT_OF_MEMORY
    assert "processes" in outcome.error


def test_a_fork_bomb_does_not_disturb_its_neighbour(pool):
    bomb, neighbour = pool.run([task("forks_without_end"), task("sleeps", seconds=0.3)])
    assert bomb.status is Status.OUT_OF_MEMORY
    assert neighbour.status is Status.DONE


def test_a_few_processes_are_fine(pool):
    assert only(pool, "leaves_many", timeout=0.5, number=100).status is Status.TIMED_OUT


@pytest.mark.parametrize("name", ["leaves_a_sleeper", "leaves_a_daemon"])
@pytest.mark.parametrize("session", [False, True])
def test_what_a_task_leaves_is_killed(pool, name, session):
    neighbour, outcome = pool.run([task("sleeps", seconds=0.3), task(name, session=session)])
    assert neighbour.status is outcome.status is Status.DONE
    assert eventually(lambda: is_dead(outcome.value))


def test_a_fork_that_comes_back_is_not_the_answer(pool):
    assert only(pool, "forks_and_both_return").value == "parent"
    outcome = only(pool, "forks_and_the_original_exits")
    assert (outcome.status, outcome.code) == (Status.EXITED, 0)


def test_a_child_starts_clean(pool):
    for name in ("changes_the_process", "loses_its_directory", "locks_its_directory"):
        assert only(pool, name).status is Status.DONE
    shown = only(pool, "shows_the_process").value
    del shown["pid"], shown["parent"]
    assert shown == {
        "leak": None,
        "kept": "yes",
        "path": False,
        "argv": False,
        "state": [],
        "empty": [],
        "temporary": ".",
        "stdin": "",
        "session": True,
        "interrupt": True,
        "terminate": True,
        "blocked": [],
        "descriptors": 5,
    }


def test_what_is_preloaded_later_is_there_in_each_child_and_happens_once(make_pool):
    pool = make_pool(jobs=2)
    pool.preload(["tasks_of_tests:prepares"])
    pool.preload(["tasks_of_tests:prepares"])
    assert [o.value for o in pool.run([task("shows_preparations")] * 3)] == [1, 1, 1]


@pytest.mark.parametrize("later", [False, True])
def test_what_a_preload_leaves_at_work_outlives_tasks_and_not_the_pool(make_pool, later):
    entries = ["tasks_of_tests:leaves_a_helper"]
    pool = make_pool(jobs=1, preload=() if later else entries)
    pool.preload(entries)
    (helper,) = pool.run([task("shows_helpers")])[0].value
    pool.run([task("shows_the_process")])  # strays of the first one are ended by now
    assert not is_dead(helper)
    pool.close()
    assert eventually(lambda: is_dead(helper))


def test_a_server_that_is_started_again_preloads_all(make_pool):
    pool = make_pool(jobs=1)
    pool.preload(["tasks_of_tests:prepares"])
    pool.run([task("shows_the_process")])
    os.kill(pool._server.pid, signal.SIGKILL)
    assert pool.run([task("shows_preparations")])[0].value == 1


def test_a_preload_that_fails_ends_with_what_it_printed(make_pool):
    pool = make_pool(jobs=1)
    pool.preload(["no_such_module"])
    with pytest.raises(PoolError, match="no_such_module"):
        pool.run([task("shows_the_process")])
