"""Limits that the kernel does not keep for us: wall time, memory of a family, its number.

`RLIMIT_AS` counts address space, of which accelerators map terabytes, and `RLIMIT_NPROC` does not
bind root and counts all of a user's processes. So the server looks ten times a second.
"""

from __future__ import annotations

import contextlib
import os
import time

from torchcrux.run import child, processes
from torchcrux.run.task import Status
from torchcrux.run.worker import Job, Worker

MOST_DESCENDANTS = 256
_EVERY = 0.1
_DUMP_EVERY = 0.02
_DUMP_WITHIN = 1.0
"""Seconds that a child has to write the frames of its stack before it is killed."""


class Guard:
    """Looks at one worker after another, each at most every tenth of a second."""

    def __init__(self, memory: int | None) -> None:
        """`memory` is in bytes, of a child and all below it together."""
        self._memory = memory
        self._looked: dict[int, float] = {}

    def next_look(self, worker: Worker, now: float) -> float:
        """Seconds from `now` until `look` has something to do."""
        job = worker.job
        if job is None or job.killed is not None:
            return _DUMP_EVERY
        until = self._looked.get(worker.pid, job.started) + _EVERY
        if job.deadline is not None:
            until = min(until, job.deadline)
        return max(0.0, until - now)

    def look(self, worker: Worker) -> None:
        """Kill the child if it is over a limit, and note in its job why."""
        job = worker.job
        if job is None:
            return
        now = time.monotonic()
        if job.dump_until is not None:
            self._end_after_dump(worker, job, now)
        elif job.killed is None and job.deadline is not None and now >= job.deadline:
            job.killed = Status.TIMED_OUT
            job.reason = f"still running after {job.ask.timeout:g} s"
            job.dump_until = now + _DUMP_WITHIN
            _signal(worker.pid, child.STACK_SIGNAL if job.begun else 0)
        if now - self._looked.get(worker.pid, job.started) >= _EVERY:
            self._looked[worker.pid] = now
            self._weigh(worker, job)

    def forget(self, pid: int) -> None:
        self._looked.pop(pid, None)

    @staticmethod
    def clear_below(pid: int) -> bool:
        """Kill all descendants of a child that lives on; whether none is left."""
        for _ in range(100):
            left = [below for below in processes.descendants(pid) if not processes.is_dead(below)]
            if not left:
                return True
            for below in left:
                _signal(below, 9)
            time.sleep(0.001)
        return False

    def _end_after_dump(self, worker: Worker, job: Job, now: float) -> None:
        """Kill once the frames are written: there are some, and no more since the last look."""
        assert job.dump_until is not None
        size = 0
        with contextlib.suppress(FileNotFoundError):
            size = worker.stack.stat().st_size
        if not job.begun or now >= job.dump_until or 0 < size == job.dumped:
            _kill(worker.pid)
        job.dumped = size

    def _weigh(self, worker: Worker, job: Job) -> None:
        family = processes.with_descendants([worker.pid])
        held = [processes.resident(pid) for pid in family]
        # A zombie holds nothing; the child itself may not get to wait for those it has adopted.
        living = sum(size > 0 for size in held)
        if living > MOST_DESCENDANTS:
            reason = f"{living} processes; at most {MOST_DESCENDANTS} are allowed"
            self._condemn(worker, job, family, Status.OUT_OF_MEMORY, reason)
        elif self._memory is not None and sum(held) > self._memory:
            exact = sum(processes.proportional(pid) for pid in family)
            if exact > self._memory:
                reason = f"{exact} bytes in memory; at most {self._memory} are allowed"
                self._condemn(worker, job, family, Status.OUT_OF_MEMORY, reason)

    @staticmethod
    def _condemn(worker: Worker, job: Job, family: list[int], status: Status, reason: str) -> None:
        if job.killed is None:
            job.killed, job.reason = status, reason
        processes.kill(family)


def _kill(pid: int) -> None:
    processes.kill(processes.with_descendants([pid]))


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
