"""What a compilation costs, in seconds or memory: when it is too much, and how a script says it.

A script measures what the backend itself spends; or, where it works later too, how much more is
spent with it than with one that does nothing. A warm-up has paid for all that happens once in a
process: what is left is spent on this one graph, and is no accident of the machine.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from torchcrux.oracle.failure import Failure, Kind, Stage


@dataclass(frozen=True, slots=True)
class Measure:
    """`said` is how the message of a script begins that fails for this, `least` what is never too
    much, `units` what a message may call multiples of the unit."""

    kind: Kind
    said: str
    unit: str
    least: float
    digits: int
    units: Mapping[str, float]


SECONDS = Measure(
    Kind.SLOW_COMPILE,
    "compiling took",
    "s",
    1.0,
    1,
    {
        **dict.fromkeys(("ms", "millisecond", "milliseconds"), 0.001),
        **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
        **dict.fromkeys(("min", "minute", "minutes"), 60.0),
    },
)
MEBIBYTES = Measure(
    Kind.MEMORY,
    "beyond eager's memory it took",
    "MiB",
    64.0,
    0,
    {"MiB": 1.0, "MB": 1e6 / 2**20, "GiB": 1024.0, "GB": 1e9 / 2**20},
)
MEASURES = {"slow": SECONDS, "memory": MEBIBYTES}
"""By the name of the check."""


@dataclass(frozen=True, slots=True)
class Bound:
    """The most that a script may spend, in the unit of the measure."""

    measure: Measure
    most: float

    @classmethod
    def parse(cls, check: str) -> Bound | None:
        """Of a check that is the name of a measure, a colon and a number."""
        name, colon, most = check.partition(":")
        return cls(MEASURES[name], float(most)) if colon and name in MEASURES else None

    def exceeded(self, spent: float) -> Failure:
        measure = self.measure
        message = f"{measure.said} {spent:.{measure.digits}f} {measure.unit}, more than"
        return Failure(
            measure.kind,
            Stage.BACKEND,
            (("AssertionError", f"{message} {self.most:g} {measure.unit}"),),
            (),
            metric={"spent": spent, "bound": self.most},
        )


def bound_of(failure: Failure) -> Bound | None:
    """What a script of this failure may spend; None for other kinds of failures."""
    for measure in MEASURES.values():
        if failure.kind is measure.kind and "bound" in (failure.metric or {}):
            return Bound(measure, float((failure.metric or {})["bound"]))
    return None


def says_costly(error: BaseException) -> Failure | None:
    """The failure of a script of ours that has failed because it spent too much."""
    for measure in MEASURES.values():
        if isinstance(error, AssertionError) and str(error).startswith(measure.said):
            return Failure(measure.kind, Stage.BACKEND, (("AssertionError", str(error)),), ())
    return None


def named_bound(message: str, measure: Measure, spent: float | None = None) -> float | None:
    """The most that `message` names in a unit of `measure` and that is less than was `spent`: what
    a script which checks its own costs calls too much. Where it is not known what was spent, that
    is the most of several amounts."""
    units = "|".join(sorted(measure.units, key=len, reverse=True))
    named = re.findall(rf"(\d+(?:\.\d+)?)\s?({units})\b", message)
    amounts = [float(number) * measure.units[unit] for number, unit in named]
    if spent is None:
        spent = max(amounts) if len(amounts) > 1 else math.inf
    exceeded = [amount for amount in amounts if measure.least <= amount < spent * 0.98]
    return max(exceeded, default=None)
