"""The judge of failures that end the process: eager first, then the compiler, with a trail.

The text is executed with `torch.compile` doing nothing, and then as it is. A process that dies in
between leaves a trail of how far it came, and whoever waits for it draws the conclusion.
"""

from __future__ import annotations

import faulthandler
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchcrux.oracle import fatal
from torchcrux.oracle.compiling import own_compiler
from torchcrux.oracle.failure import Failure
from torchcrux.oracle.fatal import During
from torchcrux.oracle.judge import Verdict, execute
from torchcrux.oracle.uncompiled import uncompiled
from torchcrux.run.task import Outcome, Status

BEGUN, EAGER_RAN, COMPILING, RUNNING = "begun", "eager ran", "compiling", "running"


def judge(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Run ``payload["text"]`` in eager and compiled; write steps into the file ``trail``.

    `limit`, in seconds, takes the place of the one that the text sets itself. `eager` is the type
    of the exception that eager raises, empty if it raises none. Returns what `oracle.judge.judge`
    does; the verdict is `same` never, for then the process does not come back.
    """
    with own_compiler():
        return _judged(payload)


def _judged(payload: Mapping[str, Any]) -> dict[str, Any]:

    from torchcrux.oracle.data import lay_data

    path = Path.cwd() / "repro.py"
    path.write_text(payload["text"], encoding="utf-8")
    lay_data(path.parent, payload.get("data", {}))
    with Path(payload["trail"]).open("w", encoding="utf-8", buffering=1) as trail:

        def step(name: str) -> None:
            trail.write(f"{name} {time.monotonic()}\n")

        step(BEGUN)
        with _limited(payload["limit"]):
            try:
                with uncompiled():
                    _, eager = execute(payload["text"], path)
            finally:
                faulthandler.cancel_dump_traceback_later()
            raised = "" if eager is None else eager.exceptions[0][0]
            if raised != payload["eager"]:
                what = "runs" if eager is None else f"fails: {eager.message}"
                return _answer(Verdict.INVALID, f"eager {what}", None, 0.0)
            step(EAGER_RAN)
            started = time.perf_counter()
            with _told(step):
                _, failure = execute(payload["text"], path)
            faulthandler.cancel_dump_traceback_later()
    seconds = time.perf_counter() - started
    if failure is None or failure.exceptions[0][0] == payload["eager"]:
        return _answer(Verdict.PASSES, "", failure, seconds)
    return _answer(Verdict.DIFFERENT, "it raises an exception", failure, seconds)


def _answer(
    verdict: Verdict, reason: str, failure: Failure | None, seconds: float
) -> dict[str, Any]:
    return {
        "verdict": verdict.value,
        "failure": None if failure is None else failure.to_json(),
        "reason": reason,
        "seconds": seconds,
    }


@contextmanager
def _limited(limit: float) -> Iterator[None]:
    """The watchdog that a text of a hang sets bites after `limit` seconds."""
    original = faulthandler.dump_traceback_later

    def sooner(timeout: float, *args: Any, **kwargs: Any) -> None:
        original(min(timeout, limit), *args, **kwargs)

    faulthandler.dump_traceback_later = sooner
    try:
        yield
    finally:
        faulthandler.dump_traceback_later = original


@contextmanager
def _told(step: Callable[[str], None]) -> Iterator[None]:
    """Say when the compiler begins and when it is done."""
    from torchcrux.capturing import _torch

    def around(original: Callable[..., Any], graph: Any, gm: Any, inputs: Any) -> Any:
        step(COMPILING)
        compiled = original(graph, gm, inputs)
        step(RUNNING)
        return compiled

    undo = _torch.on_compiler_call(around, lambda graph, compiled: compiled)
    try:
        yield
    finally:
        undo()


@dataclass(frozen=True, slots=True)
class Death:
    """How a judged process ended before it could answer. `failure` is None, and `reason` says
    why, if the compiler had no part in it."""

    failure: Failure | None
    reason: str = ""


def death(outcome: Outcome, trail: Path, limit: float) -> Death:
    """The failure that a process died of, by its trail and what the pool knows."""
    steps = _steps(trail)
    if EAGER_RAN not in steps:
        return Death(None, f"eager ends the process as well: {_how(outcome)}")
    last = steps[-1]
    during = During.RUN if last == RUNNING else During.COMPILE
    match outcome.status:
        case Status.SIGNALLED if outcome.seconds >= limit:
            # The watchdog reads the stack of a thread that runs on, and may trip over it.
            failure = fatal.hang(seconds=limit, during=during)
        case Status.SIGNALLED:
            failure = fatal.crash(
                number=outcome.code, during=during, dump=outcome.stack or "", stderr=outcome.stderr
            )
        case Status.OUT_OF_MEMORY:
            failure = fatal.crash(number=9, during=during, out_of_memory=True)
        case Status.TIMED_OUT:
            failure = fatal.hang(seconds=limit, during=during, dump=outcome.stack or "")
        case Status.EXITED if outcome.stderr.rfind("\nTimeout (") >= 0 or (
            outcome.stderr.startswith("Timeout (")
        ):
            dump = outcome.stderr[outcome.stderr.rfind("Timeout (") :]
            failure = fatal.hang(seconds=limit, during=during, dump=dump)
        case _:
            failure = fatal.crash(status=outcome.code, during=during, stderr=outcome.stderr)
    return Death(failure)


def _steps(trail: Path) -> list[str]:
    try:
        lines = trail.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    return [line.rpartition(" ")[0] for line in lines]


def _how(outcome: Outcome) -> str:
    return outcome.error or outcome.status.value
