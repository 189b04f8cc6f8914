"""A compilation that takes too long: what that means, and how a script says it.

A script measures how much longer the first call of what it compiles takes with the backend than
with one that does nothing, after a warm-up that has paid for all that happens once in a process:
what is left is the backend's time for this one graph, and not an accident of the machine.
"""

from __future__ import annotations

import re

from torchcrux.oracle.failure import Failure, Kind, Stage

SAID = "compiling took"
"""How the message of a script begins that fails for this."""

LEAST = 1.0
"""Seconds below which no compilation is called slow."""


def slow(seconds: float, bound: float) -> Failure:
    return Failure(
        Kind.SLOW_COMPILE,
        Stage.BACKEND,
        (("AssertionError", f"{SAID} {seconds:.1f} s, more than {bound:g} s"),),
        (),
        metric={"seconds": seconds, "bound": bound},
    )


def bound_of(failure: Failure) -> float | None:
    """The seconds that a script of this failure may take to compile; None for other kinds."""
    if failure.kind is not Kind.SLOW_COMPILE:
        return None
    return float((failure.metric or {})["bound"])


def says_slow(error: BaseException) -> bool:
    """Whether a script of ours has failed because compiling took too long."""
    return isinstance(error, AssertionError) and str(error).startswith(SAID)


_TIME = re.compile(r"(\d+(?:\.\d+)?)\s?(ms|milliseconds?|s|secs?|seconds?|min|minutes?)\b")
_UNITS = {"ms": 0.001, "mi": 60.0, "s": 1.0, "se": 1.0}


def named_bound(message: str, seconds: float) -> float | None:
    """The longest time that `message` names and that a compilation of `seconds` has exceeded: what
    a script which checks the time of its compilations calls too long."""
    times = [
        float(number) * (0.001 if unit.startswith(("ms", "mill")) else _UNITS[unit[:2]])
        for number, unit in _TIME.findall(message)
    ]
    exceeded = [time for time in times if LEAST <= time < seconds * 0.98]
    return max(exceeded, default=None)
