from pathlib import Path

import pytest

from torchcrux.run.task import Status
from torchcrux.run.verdict import judge
from torchcrux.run.worker import Ask, Ending, Job

DONE = {"status": "done", "value": 7}
EXIT_0, EXIT_3, SIGKILL, SIGSEGV = 0, 3 << 8, 9, 11


def judged(status, *, oom_kills=0, **state):
    job = Job(Ask(0, "f", {}, None), Path("nowhere"), True, 0, 0.0, **{"begun": True, **state})
    return judge(job, Ending(status, 1.0, 0), oom_kills)


@pytest.mark.parametrize(
    ("status", "state", "expected"),
    [
        (EXIT_0, {"frame": DONE}, {"status": Status.DONE, "value": 7}),
        (EXIT_0, {"frame": None}, {"status": Status.EXITED, "code": 0}),
        (EXIT_3, {"frame": DONE}, {"status": Status.EXITED, "code": 3}),
        (SIGSEGV, {"frame": DONE}, {"status": Status.SIGNALLED, "code": 11}),
        (SIGKILL, {"frame": None}, {"status": Status.SIGNALLED, "code": 9}),
        (SIGKILL, {"oom_kills": 1}, {"status": Status.OUT_OF_MEMORY}),
        (SIGSEGV, {"oom_kills": 1}, {"status": Status.SIGNALLED, "code": 11}),
        (SIGKILL, {"killed": Status.TIMED_OUT}, {"status": Status.TIMED_OUT}),
        (EXIT_0, {"killed": Status.TIMED_OUT, "frame": DONE}, {"status": Status.TIMED_OUT}),
        (EXIT_3, {"begun": False}, {"status": Status.LOST}),
        (SIGKILL, {"begun": False, "killed": Status.TIMED_OUT}, {"status": Status.LOST}),
    ],
)
def test_a_result_counts_only_with_a_clean_end(status, state, expected):
    fields = judged(status, **state)
    assert {key: fields[key] for key in fields if key != "error"} == expected
