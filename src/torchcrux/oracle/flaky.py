"""Finds out how often a failure comes, and sets the oracle to try as often as that needs."""

from __future__ import annotations

from dataclasses import dataclass

from torchcrux.core.journal import Journal
from torchcrux.emit.inputs import Unmakeable
from torchcrux.oracle.frequency import MEASURED, Frequency
from torchcrux.oracle.oracle import Oracle
from torchcrux.passes.base import Draft

_KEY = "frequency"
_CHECKED = 4
_MEASUREMENTS = 4


@dataclass
class Frequencies:
    """`found` is None for a failure that always comes. `asked` counts all repetitions."""

    oracle: Oracle
    journal: Journal
    found: Frequency | None = None
    asked: int = 0

    def resume(self) -> None:
        """Go on as an earlier run has found it necessary."""
        known = self.journal.get(_KEY)
        if known is not None:
            self.found = Frequency(known["failed"], known["asked"])
            self.oracle.try_often(self.found, looped=known["looped"])

    def measure(self, draft: Draft, seen: Frequency | None = None) -> bool:
        """Repeat the failure of `draft`; whether it sometimes comes, and sometimes does not.

        `seen` was found out before. A loop in the script is preferred to many processes, if it
        makes the failure come. Where it does so only at times, a few runs have overstated how often
        the failure comes: more are asked.
        """
        total = seen or Frequency(0, 0)
        for _ in range(_MEASUREMENTS):
            try:
                total += self.oracle.repeat(draft, MEASURED)
            except Unmakeable:
                return False
            self.asked += MEASURED
            if not 0 < total.failed < total.asked:
                return False
            self.oracle.try_often(total, looped=True)
            failed = self.oracle.repeat(draft, _CHECKED).failed
            looped = failed == _CHECKED
            self.oracle.try_often(total, looped=looped)
            if looped or not failed:
                break
        self.found = total
        self.journal.record(_KEY, {"failed": total.failed, "asked": total.asked, "looped": looped})
        return True
