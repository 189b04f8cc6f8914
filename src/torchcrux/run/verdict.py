"""From how a child ended to the outcome of its task."""

from __future__ import annotations

import os
import signal
from typing import Any

from torchcrux.run import child
from torchcrux.run.task import Status
from torchcrux.run.worker import Ending, Job


def judge(job: Job, ending: Ending, oom_kills: int) -> dict[str, Any]:
    """The fields `status`, `value`, `code` and `error` of the outcome.

    A result counts only if its frame is complete and the child exited with status 0 after it.
    `oom_kills` is the kernel's count at the end.
    """
    if not job.begun:
        return _lost(f"the child {_how(ending.status)} before the task began")
    if job.killed is not None:
        return {"status": job.killed, "error": job.reason}
    if os.WIFSIGNALED(ending.status):
        number = os.WTERMSIG(ending.status)
        if number == signal.SIGKILL and oom_kills > job.oom_kills:
            return {
                "status": Status.OUT_OF_MEMORY,
                "error": "killed by the kernel, which ran out of memory at that time",
            }
        return {"status": Status.SIGNALLED, "code": number, "error": _how(ending.status)}
    code = os.WEXITSTATUS(ending.status)
    if code or job.frame is None:
        error = f"{_how(ending.status)} without a result"
        if code == child.RESULT_LOST:
            error += "; this is also the status of a child whose result pipe was closed"
        return {"status": Status.EXITED, "code": code, "error": error}
    return of_frame(job.frame)


def of_frame(frame: dict[str, Any]) -> dict[str, Any]:
    """The same for a child that lives on."""
    match Status(frame["status"]):
        case Status.DONE:
            return {"status": Status.DONE, "value": frame["value"]}
        case Status.RAISED:
            return {"status": Status.RAISED, "error": frame["error"]}
        case _:
            return _lost(frame["error"])


def _lost(error: str) -> dict[str, Any]:
    return {"status": Status.LOST, "error": error}


def _how(status: int) -> str:
    if not os.WIFSIGNALED(status):
        return f"exited with status {os.WEXITSTATUS(status)}"
    number = os.WTERMSIG(status)
    try:
        return f"was ended by {signal.Signals(number).name}"
    except ValueError:  # a real-time signal has no name
        return f"was ended by signal {number}"
