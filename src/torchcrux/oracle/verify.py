"""The last word: the repro in fresh interpreters that cannot import torchcrux."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from torchcrux.oracle.failure import Failure, Kind
from torchcrux.oracle.interpreters import Ahead, Interpreter, Scratch
from torchcrux.oracle.printed import as_in_one_process, raised
from torchcrux.oracle.signature import normalised

FRESH_RUNS = 3
"""Times that a script is run in fresh interpreters before anybody is told that it fails."""


@dataclass(frozen=True, slots=True)
class Run:
    """How one fresh interpreter ended. `code` is negative for a signal, None for a time-out."""

    code: int | None
    stderr: str


class Fresh:
    """`times` runs of `repro`, under way at once, each with compiler caches of its own.

    They are empty, but for a copy of `constants`, if there is such a folder: what a compiler found
    out about the machine. Interpreters that have been started `ahead` come first. What still runs
    at the end of the context is killed.
    """

    def __init__(
        self,
        repro: Path,
        times: int,
        timeout: float,
        constants: Path | None = None,
        ahead: Ahead | None = None,
    ) -> None:
        self.ended: float | None = None
        """Seconds of `time.monotonic` when the last one ended; None before that."""
        self._timeout = timeout
        self._ended: list[Run] = []
        self._runs: list[Interpreter] = []
        with ExitStack() as stack:
            scratch = Scratch()
            stack.callback(scratch.close)
            for _ in range(times):
                one = None if ahead is None else ahead.begun(repro, constants)
                if one is None:
                    one = Interpreter(scratch.new(), constants, [str(repro)])
                stack.callback(one.end)
                self._runs.append(one)
            self._stack = stack.pop_all()
        self._watching = threading.Thread(target=self._watch, daemon=True)
        self._watching.start()

    def __enter__(self) -> Fresh:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _watch(self) -> None:
        for one in self._runs:
            one.wait()
        self.ended = time.monotonic()

    def results(self) -> list[Run]:
        """How they ended; waits for them."""
        for one in self._runs[len(self._ended) :]:
            self._ended.append(Run(one.wait(self._timeout), one.stderr()))
        self._watching.join()
        return self._ended


def run_fresh(repro: Path, times: int, timeout: float, constants: Path | None = None) -> list[Run]:
    """Run `repro` to its end; see `Fresh`."""
    with Fresh(repro, times, timeout, constants) as fresh:
        return fresh.results()


def difference(failure: Failure, run: Run) -> str | None:
    """Why `run` did not fail as `failure` did; None if it did."""
    if run.code == 0:
        return "it ends with status 0: nothing fails"
    if run.code is None:
        return "it does not end in time"
    if failure.kind is Kind.CRASH:
        if failure.signal is not None and run.code == -failure.signal:
            return None
        if failure.signal is None and run.code == (failure.metric or {}).get("status"):
            return None
        return f"it ends with status {run.code}"
    if failure.kind is Kind.HANG:
        if re.search(r"^Timeout \(\d+:\d\d:\d\d", run.stderr, re.MULTILINE):
            return None
        return f"it ends with status {run.code}, and not because its time is up"
    found = raised(as_in_one_process(run.stderr))
    if found is None:
        return f"it ends with status {run.code} and without a traceback"
    outermost = failure.exceptions[0][0]
    if outermost.rpartition(".")[2] != found[0].rpartition(".")[2]:
        return f"it raises {found[0]} instead of {outermost}"
    if failure.kind is Kind.ACCURACY:
        return None
    want, have = _first_lines(failure.exceptions[0][1]), _first_lines(found[1])
    if want != have:
        return f"its message is {' '.join(have)!r} instead of {' '.join(want)!r}"
    return None


def _first_lines(message: str) -> Sequence[str]:
    lines = [line for line in message.splitlines() if line.strip()]
    return [word for line in lines[:2] for word in normalised(line)]
