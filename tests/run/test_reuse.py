"""A child that is kept for the next task, and when it is not."""

import os
import signal

import pytest
from run_kit import eventually, is_dead, task

from torchcrux.run import Status


@pytest.fixture
def kept(make_pool):
    return make_pool(jobs=1, reuse=True)


def pid_of(pool):
    (outcome,) = pool.run([task("shows_the_process")])
    return outcome.value["pid"]


def test_a_child_is_kept_and_starts_each_task_clean(kept):
    before = kept.run([task("changes_the_process"), task("shows_the_process")])
    pid, shown = before[0].value, before[1].value
    assert shown["pid"] == pid == pid_of(kept)
    assert (shown["leak"], shown["kept"]) == (None, "yes")
    assert not shown["path"] and not shown["argv"]
    assert shown["temporary"] == ".." and shown["empty"] == []


def test_a_temporary_file_lives_as_long_as_the_child(kept):
    told = [kept.run([task("lays_something_aside")])[0].value for _ in range(2)]
    assert told[0] == told[1]
    assert told[0]["there"]


def test_without_it_each_task_has_its_own(make_pool):
    pool = make_pool(jobs=1)
    assert pid_of(pool) != pid_of(pool)


def test_only_tasks_that_ask_for_it_share_a_child(make_pool):
    pool = make_pool(jobs=1)
    shares, alone = task("shows_the_process", reuse=True), task("shows_the_process")
    outcomes = pool.run([shares, alone, shares, alone])
    first, second, third, fourth = [outcome.value["pid"] for outcome in outcomes]
    assert first == third
    assert len({first, second, fourth}) == 3


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (task("raises", text="x"), Status.RAISED),
        (task("exits", status=3), Status.EXITED),
        (task("reads_null"), Status.SIGNALLED),
        (task("a_function_that_hangs", timeout=0.2), Status.TIMED_OUT),
        (task("closes_all_descriptors"), Status.EXITED),
    ],
)
def test_after_a_fault_the_child_is_replaced(kept, fault, status):
    pid = pid_of(kept)
    (outcome,) = kept.run([fault])
    assert outcome.status is status
    assert pid_of(kept) != pid
    assert is_dead(pid)


def test_a_child_with_a_thread_left_is_replaced(kept):
    (outcome,) = kept.run([task("leaves_a_thread")])
    assert outcome.status is Status.DONE
    assert pid_of(kept) != outcome.value


def test_a_fault_that_an_earlier_task_caused_is_not_believed(kept):
    poisoned, victim = kept.run([task("poisons"), task("suffers")])
    assert (poisoned.status, victim.status) == (Status.DONE, Status.DONE)
    assert poisoned.value != victim.value


def test_an_idle_child_that_dies_is_not_noticed(kept):
    pid = pid_of(kept)
    os.kill(pid, signal.SIGKILL)
    assert kept.run([task("echo", value=1)])[0].value == {"value": 1}


def test_what_a_task_leaves_is_killed_though_its_child_lives(kept):
    (outcome,) = kept.run([task("leaves_a_daemon")])
    assert eventually(lambda: is_dead(outcome.value))
    assert kept.run([task("shows_the_process")])[0].status is Status.DONE


def test_outputs_of_tasks_in_one_child_are_kept_apart(kept):
    outcomes = kept.run([task("prints", text=str(number)) for number in range(20)])
    assert [outcome.stdout for outcome in outcomes] == [f"{number}\n" for number in range(20)]


def test_no_more_children_than_jobs(make_pool):
    pool = make_pool(jobs=3, reuse=True)
    pids = {o.value["pid"] for o in pool.run([task("shows_the_process")] * 60)}
    assert len(pids) <= 3


def test_what_a_task_changed_is_put_back_between_two(make_pool):
    pool = make_pool(jobs=1, reuse=True, between="tasks_of_tests:keeps_state")
    first, second = (o.value for o in pool.run([task("changes_state", value=5)] * 2))
    assert (first["value"], second["value"]) == (0, 0)
    assert first["pid"] == second["pid"]


def test_a_child_that_cannot_be_put_back_is_replaced(make_pool):
    pool = make_pool(jobs=1, reuse=True, between="tasks_of_tests:keeps_state")
    first, second = (o.value for o in pool.run([task("changes_state", fit=False)] * 2))
    assert first["pid"] != second["pid"]
    assert second["fit"]


def test_a_child_gives_way_only_while_that_is_asked_for_and_never_one_that_stays(make_pool):
    pool = make_pool(jobs=1)

    def nice(**options):
        (outcome,) = pool.run([task("niceness", **options)])
        return outcome.value

    usual = nice()
    pool.yields = True
    assert nice() > usual and nice(reuse=True) == usual
    pool.yields = False
    assert nice() == usual


def test_children_are_ready_before_their_first_task(make_pool):
    pool = make_pool(jobs=2, reuse=True)
    pool.ready_children("tasks_of_tests:gets_ready")
    for outcome in pool.run([task("says_whether_ready")] * 8):
        assert outcome.value["ready"] == [outcome.value["pid"]]


def test_what_a_ready_child_ends_with_is_believed(make_pool, tmp_path):
    pool = make_pool(jobs=1, reuse=True)
    pool.ready_children("tasks_of_tests:gets_ready")
    notes = tmp_path / "notes"
    (outcome,) = pool.run([task("notes_and_exits", path=str(notes))])
    assert outcome.status is Status.EXITED
    assert notes.read_text() == "ready\n"


def test_a_child_that_does_not_get_ready_is_nobodys_outcome(make_pool):
    pool = make_pool(jobs=2, reuse=True)
    pool.ready_children("tasks_of_tests:exits_at_once")
    (outcome,) = pool.run([task("echo", value=1)])
    assert outcome.value == {"value": 1}


def test_children_that_are_not_kept_are_not_started_ahead(make_pool):
    pool = make_pool(jobs=1)
    pool.ready_children("tasks_of_tests:gets_ready")
    (outcome,) = pool.run([task("says_whether_ready")])
    assert outcome.value["ready"] == []
