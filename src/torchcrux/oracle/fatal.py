"""Failures of which no exception tells: the process died, or did not end.

All there is then are the signal or the exit status, the frames that `faulthandler` wrote, and how
far the compiler had come. Works on text, and imports no torch.
"""

from __future__ import annotations

import re
import signal
from enum import Enum

from torchcrux.oracle.failure import Failure, Kind, Stage, below_entry, frame_name, stage_of


class During(str, Enum):
    """What the process was doing. `RUN` includes the backward of compiled code."""

    COMPILE = "compile"
    RUN = "run"
    BACKWARD = "backward"


FATAL = frozenset(
    {
        signal.SIGSEGV,
        signal.SIGABRT,
        signal.SIGBUS,
        signal.SIGFPE,
        signal.SIGILL,
        signal.SIGSYS,
        signal.SIGTRAP,
    }
)
"""Signals by which a process dies of what it did itself."""

_MEANINGS = {
    signal.SIGSEGV: "Segmentation fault",
    signal.SIGABRT: "Aborted",
    signal.SIGBUS: "Bus error",
    signal.SIGFPE: "Floating point exception",
    signal.SIGILL: "Illegal instruction",
    signal.SIGKILL: "Killed",
}


def crash(
    *,
    number: int | None = None,
    status: int | None = None,
    during: During,
    dump: str = "",
    stderr: str = "",
    out_of_memory: bool = False,
) -> Failure:
    """A process that signal `number`, or a call of ``_exit(status)``, has ended.

    `dump` is what `faulthandler` wrote. Of `stderr` the last words of a C++ exception are kept.
    """
    if number is not None:
        known = number in signal.valid_signals() and number <= signal.SIGSYS
        name = signal.Signals(number).name if known else f"SIGNAL{number}"
        said = _MEANINGS.get(signal.Signals(number), name) if known else name
        if out_of_memory:
            said = "Killed by the kernel, which ran out of memory"
    else:
        name, said = "_exit", f"the process ended itself with status {status}"
    last = _last_words(stderr)
    metric: dict[str, object] = {"during": _side(during)}
    if status is not None:
        metric["status"] = status
    frames = frames_of(dump)
    return Failure(
        Kind.CRASH,
        _stage(during, frames),
        ((name, f"{said} ({last})" if last else said),),
        frames,
        signal=number,
        metric=metric,
        traceback=dump,
    )


def hang(*, seconds: float, during: During, dump: str = "") -> Failure:
    """A process that was not done after `seconds`."""
    frames = frames_of(dump)
    what = "compilation" if during is During.COMPILE else "compiled code"
    return Failure(
        Kind.HANG,
        _stage(during, frames),
        (("Timeout", f"{what} does not end within {seconds:g} s"),),
        frames,
        metric={"during": _side(during), "seconds": seconds},
        traceback=dump,
    )


def _side(during: During) -> str:
    return "compile" if during is During.COMPILE else "run"


def _stage(during: During, frames: tuple[str, ...]) -> Stage:
    match during:
        case During.BACKWARD:
            return Stage.BACKWARD
        case During.COMPILE:
            return stage_of(frames) if frames else Stage.BACKEND
    return Stage.RUN


_THREAD = re.compile(r"^(Current thread|Thread) 0x[0-9a-f]+.*\(most recent call first\):$")
_FRAME = re.compile(r'^  File "(.*)", line \d+ in (.*)$')
_COMPILER = ("/torch/_dynamo/", "/torch/_functorch/", "/torch/_inductor/")
_OURS = ("/torchcrux/capturing/", "/torchcrux/oracle/", "/torchcrux/run/", "/torchcrux/_torch.py")


def frames_of(dump: str) -> tuple[str, ...]:
    """The frames below the compiler's entry, innermost last, of the thread that matters: the one
    that died, else one that is in the compiler, else the main thread."""
    threads: list[tuple[bool, list[tuple[str, str]]]] = []
    for line in dump.splitlines():
        heading = _THREAD.match(line)
        if heading:
            threads.append((heading.group(1) == "Current thread", []))
        elif threads and (frame := _FRAME.match(line)):
            threads[-1][1].append((frame.group(1), frame.group(2)))
    if not threads:
        return ()
    current = [frames for is_current, frames in threads if is_current]
    compiling = [
        frames for _, frames in threads if any(part in f for f, _ in frames for part in _COMPILER)
    ]
    chosen = (current or compiling or [threads[-1][1]])[0]
    names = [
        frame_name(file, function, of_torch="/torch/" in file)
        for file, function in reversed(chosen)
        if not any(part in file for part in _OURS)
    ]
    return below_entry(names)


_FILES = re.compile(r"(?:/[\w.+-]+)+(?::\d+)?(?:, )?")
_WHAT = re.compile(r"^\s*what\(\):\s*(.+)$", re.MULTILINE)


def _last_words(stderr: str) -> str:
    """The message of the C++ exception that nobody caught, without the files it names."""
    found = _WHAT.findall(stderr)
    return _FILES.sub("", found[-1]).strip()[:200] if found else ""
