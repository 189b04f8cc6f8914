"""How often a failure comes, and how often one has to try to see it.

A failure that comes with probability p stays away from n independent tries with (1-p)^n.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

MISSED = 0.005
"""A candidate that passes although it can fail is met once in 200 times."""

MOST_TRIES = 100
MEASURED = 10
"""Times that a failure is repeated to see how often it comes."""


@dataclass(frozen=True, slots=True)
class Frequency:
    """`failed` of `asked` runs failed in the same way; not all of them, or none is known."""

    failed: int
    asked: int

    @property
    def tries(self) -> int:
        """Tries after which a candidate counts as one that passes; 1 for what always fails."""
        if self.failed >= self.asked:
            return 1
        missed = 1 - self.failed / self.asked
        if missed >= 1:
            return MOST_TRIES
        return min(MOST_TRIES, math.ceil(math.log(MISSED) / math.log(missed)))

    def __add__(self, other: Frequency) -> Frequency:
        return Frequency(self.failed + other.failed, self.asked + other.asked)

    def __str__(self) -> str:
        return f"{self.failed} of {self.asked}"
