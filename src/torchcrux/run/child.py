"""What happens in a child, from the fork to its last instruction.

The child owes its parent two frames in the result pipe for each task: that it begins, and the
answer. Everything else (output, frames of the stack, exit status) the parent sees by itself.
"""

from __future__ import annotations

import contextlib
import faulthandler
import fcntl
import importlib
import io
import os
import resource
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, cast

from torchcrux.run import linux, protocol

STACK_SIGNAL = signal.SIGRTMAX
"""Asks a child for its Python frames. Nothing else uses it, and no signal mask of a library's."""

RESULT_LOST = 74
"""Exit status of a child that finds its result pipe closed (EX_IOERR of sysexits.h)."""

NICENESS = 10
"""Of a child that leaves the cores to others: a tenth of a core where another wants it."""

BEGUN = "begun"
"""Status of the frame before a task: what happens from here on is the task's doing, not ours."""

_USUAL: Mapping[int, Any] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGPIPE: signal.SIG_IGN,
    signal.SIGXFSZ: signal.SIG_IGN,
}
"""Signals whose handler in a new interpreter is not the system's default."""

_LONGEST_ERROR = 2**16
_HIGH = 4000


@dataclass(frozen=True, slots=True)
class Request:
    """A task as the server hands it to a child. `directory` is empty and for this task alone."""

    identity: int
    function: str
    payload: Mapping[str, Any]
    directory: str


@dataclass(frozen=True, slots=True)
class Seat:
    """The descriptors of a child. `more` brings the paths of further requests, a line each."""

    server: int
    """Process id of the parent."""
    stdout: int
    stderr: int
    result: int
    stack: int
    more: int | None
    between: str
    """What puts the process back between two tasks, as for `Pool`; empty for nothing."""
    yields: bool
    close: Sequence[int]
    """What belongs to the server and is none of the child's business."""


@dataclass(frozen=True, slots=True)
class _Ambient:
    """What a task may have changed for the next one in the same child."""

    environ: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    path: list[str] = field(default_factory=lambda: list(sys.path))
    argv: list[str] = field(default_factory=lambda: list(sys.argv))

    def restore(self) -> None:
        os.environ.clear()
        os.environ.update(self.environ)
        sys.path[:] = self.path
        sys.argv[:] = self.argv


class _ResultPipe:
    """The writing end, at a number that a careless ``closerange`` does not reach."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = _move_up(descriptor)
        self._inode = os.fstat(self._descriptor).st_ino

    def send(self, message: Mapping[str, Any]) -> None:
        """Raises `OSError` if the pipe was closed, or its number now belongs to something else."""
        frame = memoryview(protocol.encode(message))
        if os.fstat(self._descriptor).st_ino != self._inode:
            raise OSError("the result pipe was closed")
        while frame:
            frame = frame[os.write(self._descriptor, frame) :]


def live(request: Request, seat: Seat) -> NoReturn:
    """Be the child: judge `request` (and what comes after it through `seat.more`), and end.

    Ends with `os._exit`, so nothing of the server's state is torn down a second time.
    """
    status = 1
    try:
        status = _serve(request, seat)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _serve(request: Request, seat: Seat) -> int:
    linux.die_with(seat.server)
    if seat.yields:
        os.nice(NICENESS)
    results = _settle(seat)
    us = os.getpid()
    ambient = _Ambient()
    put_back = _resolve(seat.between)() if seat.more is not None and seat.between else None
    more = None if seat.more is None else os.fdopen(seat.more, "rb")
    while True:
        results.send({"identity": request.identity, "status": BEGUN})
        try:
            message = _answer(request, stays=more is not None)
        except SystemExit as leaving:
            _flush()
            return _exit_status(leaving.code)
        if os.getpid() != us:
            # A fork made by the task came back here; the answer is the other one's to give.
            _flush()
            return 0
        stays = (
            more is not None
            and message["status"] == "done"
            and (put_back is None or put_back())
            and _is_unchanged()
        )
        _flush()
        try:
            results.send({**message, "identity": request.identity, "stays": stays})
        except OSError:
            return RESULT_LOST
        if more is None or not stays or not (line := more.readline()):
            return 0
        ambient.restore()
        _reap()
        request = Request(**protocol.Decoder().feed(Path(os.fsdecode(line[:-1])).read_bytes())[0])


def _settle(seat: Seat) -> _ResultPipe:
    """Turn a copy of the server into a process of its own, with its own limits and streams."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        # As in a new interpreter.
        usual = _USUAL.get(number, signal.SIG_DFL)
        if signal.getsignal(number) != usual:
            signal.signal(number, usual)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    linux.adopt_orphans()
    with contextlib.suppress(OSError):  # some sandboxes mount /proc read-only
        linux.offer_to_the_oom_killer()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(seat.stdout, 1)
    os.dup2(seat.stderr, 2)
    for descriptor in (nothing, seat.stdout, seat.stderr, *seat.close):
        os.close(descriptor)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)

    stack = _move_up(seat.stack)
    faulthandler.enable(file=stack, all_threads=True)
    faulthandler.register(STACK_SIGNAL, file=stack, all_threads=True, chain=False)
    return _ResultPipe(seat.result)


def _answer(request: Request, *, stays: bool) -> dict[str, Any]:
    """The message for the server. Only `SystemExit` gets out."""
    try:
        os.chdir(request.directory)
        # What a library keeps among temporary files must live as long as the library in memory.
        lasting = os.path.dirname(request.directory) if stays else request.directory  # noqa: PTH120
        os.environ["TMPDIR"] = lasting
        tempfile.tempdir = None  # it remembers the directory of the server
        function = _resolve(request.function)
    except Exception:
        return {"status": "lost", "error": _text_of_exception()}
    try:
        value = function(dict(request.payload))
        # Here, not when it is sent: what is not JSON is the callable's error.
        protocol.encode(value)
    except SystemExit:
        raise
    except BaseException:
        return {"status": "raised", "error": _text_of_exception()}
    return {"status": "done", "value": value}


def _resolve(name: str) -> Callable[..., Any]:
    module, _, path = name.partition(":")
    found: Any = importlib.import_module(module)
    for attribute in path.split("."):
        found = getattr(found, attribute)
    if not callable(found):
        raise TypeError(f"{name} is not callable")
    return cast("Callable[..., Any]", found)


def _text_of_exception() -> str:
    return traceback.format_exc()[-_LONGEST_ERROR:]


def _exit_status(code: object) -> int:
    """What the interpreter makes of the argument of `sys.exit`."""
    match code:
        case None:
            return 0
        case int():
            return code & 0xFF
        case _:
            with contextlib.suppress(OSError, ValueError):
                os.write(2, f"{code}\n".encode())
            return 1


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        # The task may have closed or replaced them; its result does not depend on them.
        with contextlib.suppress(Exception):
            stream.flush()
    linux.flush_c_streams()


def _is_unchanged() -> bool:
    """Whether this child is fit for another task: no thread of the last one still runs in it."""
    return threading.active_count() == 1


def _reap() -> None:
    """Wait for the descendants that the server has killed between two tasks."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _move_up(descriptor: int) -> int:
    """The same file at a high number, closed when a program is executed."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = _HIGH if soft == resource.RLIM_INFINITY else max(3, min(soft - 16, _HIGH))
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, lowest)
    os.close(descriptor)
    return moved
