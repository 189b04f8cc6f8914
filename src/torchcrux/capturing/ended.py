"""From what a watched process left behind to the case of a crash or a hang."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from torchcrux import case
from torchcrux.capturing import standby
from torchcrux.case import Case
from torchcrux.oracle import fatal
from torchcrux.oracle.failure import Failure
from torchcrux.oracle.fatal import During
from torchcrux.run import linux, processes

GRACE = 3.0
"""Seconds that a process gets to write its frames, and then to end when it is asked to."""

MOST_CROWDED = 4.0
"""So many times its limit a process may take if it has to wait, for cores or for a compiler that
it has started."""

_POLL = 0.2
_WATCHDOG_STATUS = 124  # of timeout(1)
_WATCHDOG_SIGNALS = frozenset({signal.SIGALRM, signal.SIGXCPU, signal.SIGVTALRM, signal.SIGPROF})
_WATCHDOG_LEAST = 10.0
"""A program that one graph keeps busy for so long, and that then ends in one of these ways, was
ended by a watchdog of its own: it hung."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a watched process ended. `code` is as in `subprocess`; `hung` is set if we ended it, in
    seconds. `busy_for` are the seconds that one compilation or call had taken at the end, None if
    there was none. `out_of_memory` tells whether the kernel killed for memory meanwhile."""

    code: int
    hung: float | None = None
    busy_for: float | None = None
    out_of_memory: bool = False


@dataclass
class Clock:
    """Seconds that an activity of process `pid` has taken, without those in which a thread of it
    wanted a core and got none, or in which a process below it was at work."""

    pid: int
    activity: standby.Activity
    _queued: dict[int, float] = field(init=False)
    _waited: float = 0.0
    _looked: float = field(init=False)

    def __post_init__(self) -> None:
        self._queued = processes.queued(self.pid)
        self._looked = time.monotonic()

    def taken(self) -> float:
        queued = processes.queued(self.pid)
        waits = [seconds - self._queued.get(one, seconds) for one, seconds in queued.items()]
        now, before = time.monotonic(), self._looked
        if processes.is_at_work_below(self.pid):
            waits.append(now - before)
        self._waited += max(waits, default=0.0)
        self._queued, self._looked = queued, now
        elapsed = now - self.activity.begin
        return max(elapsed - self._waited, elapsed / MOST_CROWDED)


def wait(
    child: subprocess.Popen[bytes],
    folder: Path,
    *,
    hangs: bool,
    strict: bool = False,
    say: Callable[[str], None],
    watch: Callable[[Path], None] = lambda folder: None,
    over: Callable[[], bool] = lambda: False,
) -> Ended:
    """Wait for the end of a process that stands by in `folder`. If `hangs`, one that takes
    implausibly long over one graph is asked for its frames and ended; not what it started. Time in
    which it had to wait, for a core or for a compiler that it has started, does not count, unless
    `strict`.
    `watch` is called with `folder` now and then. Once it is `over`, only Python's own end is left:
    nobody waits for that."""
    kills = linux.oom_kills()
    hung: float | None = None
    told: standby.Activity | None = None
    clock: Clock | None = None
    while True:
        try:
            code = child.wait(_POLL)
            break
        except subprocess.TimeoutExpired:
            watch(folder)
            if over():
                return Ended(1)
            busy = standby.activity(folder) if hangs else None
        if busy is None:
            continue
        if clock is None or clock.activity != busy:
            clock = Clock(child.pid, busy)
        taken = time.monotonic() - busy.begin if strict else clock.taken()
        doing = "Compiling" if busy.during is During.COMPILE else "Running"
        if taken > busy.limit / 2 and busy != told:
            told = busy
            say(
                f"{doing} one graph has taken {taken:.0f} s by now; after {busy.limit:.0f} s it"
                " counts as a hang."
            )
        if taken > busy.limit and standby.activity(folder) == busy:
            say(f"{doing} one graph does not end within {busy.limit:.0f} s. Ending the script.")
            hung = busy.limit
            code = _end(child, folder)
            break
    busy = standby.activity(folder)
    return Ended(
        code,
        hung,
        None if busy is None else time.monotonic() - busy.begin,
        linux.oom_kills() > kills,
    )


def _end(child: subprocess.Popen[bytes], folder: Path) -> int:
    with suppress(ProcessLookupError):
        os.kill(child.pid, standby.DUMP_SIGNAL)
    until = time.monotonic() + GRACE
    size = -1
    while time.monotonic() < until and child.poll() is None:
        time.sleep(_POLL)
        now = len(standby.left_frames(folder))
        if now and now == size:
            break
        size = now
    return end(child)


def end(child: subprocess.Popen[bytes]) -> int:
    """Ask it to end, and see to it; its status."""
    child.terminate()
    try:
        return child.wait(GRACE)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()


def fatal_case(ended: Ended, folder: Path, cases: Path, *, finished: bool) -> Case | None:
    """The case of the graph that killed the process or kept it; None if a compiler had no part in
    its end. `finished` tells whether the program's code had come to its end. Raises OSError or
    ValueError if the graph is not on disk in full."""
    busy = standby.activity(folder)
    if busy is None or finished:
        return None
    failure = _failure(ended, busy, standby.left_frames(folder))
    if failure is None:
        return None
    program = standby.left_graph(folder, busy.graph)
    context, notes = standby.left_context(folder, busy.graph)
    if busy.during is During.BACKWARD:
        context = replace(context, backward=True)
    stored = standby.left_inputs(folder, busy.graph)
    name = f"fatal-{busy.graph}-{busy.calls}" + ("-inputs" if stored else "")
    return case.write(cases / name, program, context, failure, {}, notes=notes, stored=stored)


def _failure(ended: Ended, busy: standby.Activity, frames: str) -> Failure | None:
    number = -ended.code if ended.code < 0 else None
    if ended.hung is not None:
        return fatal.hang(seconds=ended.hung, during=busy.during, dump=frames)
    if (ended.busy_for or 0.0) > _WATCHDOG_LEAST and (
        number in _WATCHDOG_SIGNALS or ended.code == _WATCHDOG_STATUS
    ):
        return fatal.hang(seconds=ended.busy_for or 0.0, during=busy.during, dump=frames)
    killed = number == signal.SIGKILL and ended.out_of_memory
    if number in fatal.FATAL or killed:
        return fatal.crash(number=number, during=busy.during, dump=frames, out_of_memory=killed)
    if number is None and ended.code != 0:
        return fatal.crash(status=ended.code, during=busy.during, dump=frames)
    return None


def keep_of(found: Case) -> standby.Keep | None:
    """What to keep in a second run of the program, to have the inputs of the graph that killed
    it; None if they are known."""
    if found.stored or not found.folder.name.startswith("fatal-"):
        return None
    _, graph, calls = found.folder.name.split("-")[:3]
    return standby.Keep(int(graph), int(calls))
