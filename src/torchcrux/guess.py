"""What some passes come to if all that they ask is granted, as it mostly is: one question."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torchcrux.oracle.answer import Answer
from torchcrux.oracle.failure import Failure
from torchcrux.oracle.judge import Verdict
from torchcrux.oracle.oracle import Oracle
from torchcrux.passes import Draft, Pass
from torchcrux.passes.arguments import Arguments
from torchcrux.passes.data import PlainValues
from torchcrux.passes.rank import Dimensions
from torchcrux.passes.sizes import Sizes

_SIZES = (Sizes, Dimensions)
GUESSED = (*_SIZES, Arguments, PlainValues)


@dataclass
class Optimist:
    """An oracle to which every draft fails."""

    oracle: Oracle

    @property
    def expected(self) -> Failure:
        return self.oracle.expected

    def runs(self, drafts: Sequence[Draft], base: Draft) -> list[Draft | None]:
        return self.oracle.runs(drafts, base)

    def ask(self, drafts: Sequence[Draft | None]) -> list[Answer]:
        verdicts = [Verdict.INVALID if one is None else Verdict.SAME for one in drafts]
        return [Answer(verdict) for verdict in verdicts]

    def fault(self) -> Answer:
        return self.oracle.fault()


def guesses(
    draft: Draft, passes: Sequence[Pass], optimist: Callable[[Pass, Draft], Draft]
) -> list[Draft]:
    """What `optimist` makes of `draft`, the simplest first: with all that is `GUESSED`, and with
    smaller sizes only."""
    found: list[Draft] = []
    guess = draft
    for group in (_SIZES, GUESSED):
        for one in passes:
            if type(one) in group:
                guess = optimist(one, guess)
        if guess != draft and guess not in found:
            found.insert(0, guess)
    return found
