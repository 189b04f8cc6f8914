"""What is asked of a child, and what became of it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


class Status(enum.Enum):
    """How a task ended. `LOST` alone is ours: nothing is known about the task then.

    `OUT_OF_MEMORY` is also the end of a task that starts too many processes; `Outcome.error` tells.
    """

    DONE = "done"
    RAISED = "raised"
    EXITED = "exited"
    SIGNALLED = "signalled"
    TIMED_OUT = "timed_out"
    OUT_OF_MEMORY = "out_of_memory"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Task:
    """A call to make in a child of its own.

    `function` is ``"package.module:callable"``; it gets `payload` as a dict and returns JSON.
    `timeout` is in seconds of wall time; the child and all it left behind are killed then. With
    `reuse` the child stays for the next such task, see `Pool`: for what takes less than a fork.
    """

    function: str
    payload: Mapping[str, Any]
    timeout: float | None = None
    reuse: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a task.

    `value` is what the callable returned (only when `DONE`). `code` is an exit status (`EXITED`)
    or a signal number (`SIGNALLED`). `error` is a traceback or an explanation. `stdout` and
    `stderr` are the last 64 KiB. `seconds` run from the fork to the end of the child. `stack` are
    the Python frames at the time limit or at the fatal signal. `peak_memory` is in bytes, the
    pages shared with the server included.
    """

    status: Status
    value: Any = None
    code: int | None = None
    error: str | None = None
    stdout: str = ""
    stderr: str = ""
    seconds: float = 0.0
    stack: str | None = None
    peak_memory: int | None = None

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "status": self.status.value}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Outcome:
        return cls(**{**data, "status": Status(data["status"])})
