"""A child as the server sees it: its process, its pipes, and the task it works on."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchcrux.run import child, linux, processes, protocol
from torchcrux.run.task import Status

TAIL = 2**16
"""Bytes kept of each stream."""
_CHUNK = 2**18


@dataclass(slots=True)
class Ask:
    """A task in the queue of the server. `timeout` is in seconds."""

    identity: int
    function: str
    payload: Mapping[str, Any]
    timeout: float | None
    attempts: int = 0
    reuse: bool = False
    yields: bool = False
    """The child leaves the cores to other processes that want them."""
    fresh: bool = False
    """Only a child that has judged nothing before will do."""
    prepares: bool = False
    """It readies its child for others, and nobody waits for its outcome."""


@dataclass(slots=True)
class Job:
    """A task in the hands of a child."""

    ask: Ask
    directory: Path
    first: bool
    """Nothing else was judged in the child before."""
    oom_kills: int
    """The kernel's count when the task started."""
    started: float
    begun: bool = False
    frame: dict[str, Any] | None = None
    killed: Status | None = None
    """Why we decided to kill the child, if we did."""
    reason: str | None = None
    dump_until: float | None = None
    """When to stop waiting for the frames of the stack."""
    dumped: int = 0
    """Bytes of the stack at the last look."""

    @property
    def deadline(self) -> float | None:
        return None if self.ask.timeout is None else self.started + self.ask.timeout


@dataclass(frozen=True, slots=True)
class Ending:
    """How a child ended: the status of `os.wait4`, seconds of `time.monotonic`, bytes."""

    status: int
    when: float
    peak: int


class Tail:
    """The end of a stream of any length."""

    def __init__(self) -> None:
        self._kept = bytearray()

    def add(self, data: bytes) -> None:
        self._kept += data
        del self._kept[:-TAIL]

    def take(self) -> str:
        text = self._kept.decode(errors="replace")
        self._kept.clear()
        return text


class Worker:
    """A child process. It is forked by the constructor, with its first task."""

    pid: int
    ending: Ending | None = None
    is_fresh = True
    """It has judged nothing yet."""

    def __init__(self, ask: Ask, scratch: Path, *, between: str = "", close: Iterable[int]) -> None:
        """`between` is as for `Pool`. `close` are descriptors of the server. Raises
        `OSError` when there is no room."""
        self._scratch = scratch
        self.stdout, self.stderr = Tail(), Tail()
        self._decoder = protocol.Decoder()
        self.stack = scratch / f"{ask.identity}.{ask.attempts}.stack"
        self.readers: dict[int, Callable[[bytes], None]] = {}
        self._more: int | None = None
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            pipes = []
            for reader in (self.stdout.add, self.stderr.add, self._on_result):
                read, write = os.pipe2(os.O_CLOEXEC)
                ours.callback(os.close, read)
                theirs.callback(os.close, write)
                os.set_blocking(read, False)
                self.readers[read] = reader
                pipes.append(write)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            stack = os.open(self.stack, flags, 0o600)
            theirs.callback(os.close, stack)
            more = None
            if ask.reuse:
                more, self._more = os.pipe2(os.O_CLOEXEC)
                theirs.callback(os.close, more)
                ours.callback(os.close, self._more)
            self.job: Job | None = self._job(ask)
            request = self._request(self.job)
            stdout, stderr, result = pipes
            seat = child.Seat(
                server=os.getpid(),
                stdout=stdout,
                stderr=stderr,
                result=result,
                stack=stack,
                more=more,
                between=between,
                yields=ask.yields,
                close=[*close, *self.descriptors()],
            )
            sys.stdout.flush()
            sys.stderr.flush()
            self.pid = os.fork()
            if self.pid == 0:
                child.live(request, seat)
            self._ours = ours.pop_all()

    def descriptors(self) -> list[int]:
        """What the server holds of this worker."""
        return [*self.readers, *([] if self._more is None else [self._more])]

    def assign(self, ask: Ask) -> None:
        """Give an idle child its next task. Raises `BrokenPipeError` if it is dead."""
        assert self._more is not None
        os.truncate(self.stack, 0)
        processes.forget_peak(self.pid)
        self.job = self._job(ask)
        path = self.job.directory.with_suffix(".request")
        path.write_bytes(protocol.encode(_as_json(self._request(self.job))))
        # Short enough to never block: an idle child has read all that came before.
        os.write(self._more, os.fsencode(path) + b"\n")

    def release(self) -> None:
        """The task is over: remove what it left on the disk."""
        if self.job is not None:
            remove(self.job.directory)
            self.job.directory.with_suffix(".request").unlink(missing_ok=True)
        self.job = None

    def close(self) -> None:
        """The child is over."""
        self.release()
        self.stack.unlink(missing_ok=True)
        self.readers.clear()
        self._more = None
        self._ours.close()

    def read(self, descriptor: int) -> bool:
        """Take what one pipe holds, at most one chunk; whether more may come from it."""
        try:
            data = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return True
        self.readers[descriptor](data)
        return bool(data)

    def drain(self) -> None:
        """Take what is in the pipes; for when nobody should write to them any more."""
        for descriptor, reader in self.readers.items():
            with contextlib.suppress(BlockingIOError):
                # A pipe holds a MiB at most; more comes from a process that cannot be killed.
                for _ in range(64):
                    reader(os.read(descriptor, _CHUNK))

    def dump_text(self) -> str | None:
        """The frames that the child has written, if any."""
        with contextlib.suppress(FileNotFoundError):
            return self.stack.read_text(errors="replace")[:TAIL] or None
        return None

    def _on_result(self, data: bytes) -> None:
        try:
            frames = self._decoder.feed(data)
        except (protocol.ProtocolError, ValueError):
            # Somebody else wrote into the pipe. From here on there is no result.
            self._decoder = protocol.Decoder()
            return
        for frame in frames:
            if self.job is None or frame["identity"] != self.job.ask.identity:
                continue
            if frame["status"] == child.BEGUN:
                self.job.begun = True
            else:
                self.job.frame = frame

    def _job(self, ask: Ask) -> Job:
        ask.attempts += 1
        first = self.is_fresh
        self.is_fresh = first and ask.prepares
        directory = self._scratch / f"{ask.identity}.{ask.attempts}"
        directory.mkdir(parents=True)
        return Job(ask, directory, first, linux.oom_kills(), time.monotonic())

    @staticmethod
    def _request(job: Job) -> child.Request:
        ask = job.ask
        return child.Request(ask.identity, ask.function, ask.payload, str(job.directory))


def remove(directory: Path) -> None:
    """Remove a directory tree, also where the task took away our right to."""
    shutil.rmtree(directory, ignore_errors=True)
    if not directory.exists():
        return
    directory.chmod(0o700)
    for folder, names, _ in os.walk(directory):
        for path in (Path(folder, name) for name in names):
            if not path.is_symlink():
                path.chmod(0o700)
    shutil.rmtree(directory, ignore_errors=True)


def _as_json(request: child.Request) -> dict[str, Any]:
    return {
        "identity": request.identity,
        "function": request.function,
        "payload": dict(request.payload),
        "directory": request.directory,
    }
