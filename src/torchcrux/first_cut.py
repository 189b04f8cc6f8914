"""The cut of the whole: in the plainest form of the program that fails at all, and where to look
first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torchcrux.core.search.masks import everything, windows
from torchcrux.core.search.merge import AT_ONCE, cheap_rounds, likely_windows, merge
from torchcrux.forms import formed, forms, most_faithful
from torchcrux.leads import leads, likely
from torchcrux.oracle.answer import Answer
from torchcrux.oracle.divergence import LARGE
from torchcrux.oracle.judge import Verdict
from torchcrux.oracle.oracle import Oracle
from torchcrux.passes import CutLevel, Draft
from torchcrux.passes.cut import Cut
from torchcrux.program.checks import without_checks
from torchcrux.program.ir import Value

if TYPE_CHECKING:
    from torchcrux.reduction import Reducer

FEWEST_FOR_PARTS = 8
"""Operations below which the first round has asked about all parts that are worth it."""

GLANCES = 2
"""Rounds of windows where only parts are asked and the failure names nothing. What it names says
more than windows do: then none is asked."""


class NotReproduced(Exception):
    """The captured graph does not fail by itself; the message says what it does instead."""


class DoesNotFail(Exception):
    """A draft that was to be reduced does not fail; `answer` says what it does."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.reason)
        self.answer = answer


@dataclass(frozen=True)
class FirstCut:
    """What a reducer begins with."""

    reducer: Reducer

    @property
    def oracle(self) -> Oracle:
        return self.reducer.oracle

    def run(self, captured: Draft) -> Draft:
        """The smallest subset of the calls that fails, in some form of the program.

        Raises NotReproduced.
        """
        instead: Answer | None = None
        for form in forms(self.oracle.expected, captured, unkept=self.reducer.unkept):
            base = formed(captured, form, self.oracle.expected)
            self.reducer.progress(f"cut: {base.program.operations} operations, {form.value}")
            value = Value.STORED if form.stored else Value.RANDOM
            level = CutLevel(base, value)
            if not any(isinstance(one, Cut) for one in self.reducer.passes):
                (answer,) = self.reducer.ask([base])
                if answer.verdict is Verdict.SAME:
                    return base
                instead = answer
                continue
            suspected = self._suspected(base, at_first=True)
            narrowed = None if suspected else self._narrowed(level)
            if narrowed is not None:
                base, level = narrowed, CutLevel(narrowed, value)
                suspected = self._suspected(base, at_first=True)
            suspected = suspected or self._suspected(base)
            hints = suspected or leads(base, self.oracle.expected)
            single = [hint for hint in hints if hint.bit_count() == 1]
            some = hints[:AT_ONCE] if self.reducer.only_parts else single
            alone = self._first_that_suffices(level, some, causes=bool(suspected))
            if alone is not None:
                return alone
            search = merge(level.size, hints=hints, likely=likely(base.program, hints))
            cheap = cheap_rounds(level.size, hints)
            if self.reducer.only_parts:
                cheap = min(cheap, -(-len(hints) // AT_ONCE) or GLANCES)
            try:
                mask = self.reducer.search(
                    search, level.candidate, cheap, verified=narrowed is not None
                )
                return level.candidate(mask) or base
            except DoesNotFail as refused:
                instead = refused.answer
                if self.reducer.only_parts:
                    break
                if self._adopts(instead):
                    return self.run(captured)
        unchecked = without_checks(captured.program)
        if unchecked is not captured.program:
            return self.run(replace(captured, program=unchecked))
        part = None if self.reducer.only_parts or self.reducer.unkept else self._part(captured)
        if part is None:
            raise NotReproduced(_what_instead(instead))
        return part

    def _narrowed(self, level: CutLevel) -> Draft | None:
        """The smallest of some windows that fails, where numbers are wrong: to look at each value
        of it costs less than at those of all."""
        if self.reducer.only_parts or not self.oracle.has_suspects or level.size < LARGE:
            return None
        keeps = likely_windows(level.size, likely(level.draft.program, ()))[:AT_ONCE]
        drafts = [level.candidate(everything(level.size) & ~keep) for keep in keeps]
        told = zip(drafts, self.reducer.ask(drafts), strict=True)
        failing = [draft for draft, one in told if draft and one.verdict is Verdict.SAME]
        return min(failing, key=lambda draft: draft.program.operations, default=None)

    def _part(self, captured: Draft) -> Draft | None:
        """The smallest part that fails where the whole does not: what a compiler makes of some
        operations depends on those around them."""
        cut = next((one for one in self.reducer.passes if isinstance(one, Cut)), None)
        form = most_faithful(self.oracle.expected)
        base = formed(captured, form, self.oracle.expected)
        if cut is None or base.program.operations < FEWEST_FOR_PARTS:
            return None
        self.reducer.progress(f"cut: parts of {base.program.operations} operations, {form.value}")
        level = CutLevel(base, Value.STORED if form.stored else Value.RANDOM)
        drafts = [level.candidate(everything(level.size) & ~keep) for keep in windows(level.size)]
        told = zip(drafts, self.reducer.ask(drafts), strict=True)
        found = next((draft for draft, one in told if one.verdict is Verdict.SAME), None)
        return None if found is None else self.reducer.apply(cut, found)

    def _first_that_suffices(
        self, level: CutLevel, hints: Sequence[int], *, causes: bool
    ) -> Draft | None:
        """What the failure names, if that fails by itself: nothing larger is asked then. Where
        numbers go wrong first, they may do so in another way than where that was seen."""
        whole = everything(level.size)
        drafts = [level.candidate(whole & ~hint) for hint in hints]
        answers = self.reducer.ask(drafts) if drafts else []
        told = [*zip(drafts, answers, strict=True)]
        found = next((draft for draft, one in told if one.verdict is Verdict.SAME), None)
        if found is not None or not causes:
            return found
        cause = next((draft for draft, one in told if self._adopts(one)), None)
        if cause is None or self.reducer.ask([cause])[0].verdict is not Verdict.SAME:
            return None
        return cause

    def _adopts(self, answer: Answer) -> bool:
        """Whether what is expected from here on is the failure of `answer`: see
        `Oracle.adopt`."""
        if answer.verdict is not Verdict.DIFFERENT or answer.failure is None:
            return False
        if not self.oracle.adopt(answer.failure):
            return False
        what = (answer.failure.metric or {}).get("attribute")
        self.reducer.progress(f"the numbers are wrong because of another {what}: that is reduced")
        return True

    def _suspected(self, draft: Draft, *, at_first: bool = False) -> tuple[int, ...]:
        """Where numbers go wrong first; and that with what it takes."""
        names = self.oracle.suspects(draft, at_first=at_first)
        if not names:
            return ()
        at = {node.name: 1 << i for i, node in enumerate(draft.program.calls)}
        takes = {one for name in names for one in draft.program.by_name[name].references()}
        wider = sum(at[one] for one in takes.union(names) if one in at)
        return tuple(dict.fromkeys([*(at[name] for name in names), *filter(None, [wider])]))


def _what_instead(answer: Answer | None) -> str:
    if answer is None:
        return "nothing was asked"
    match answer.verdict:
        case Verdict.PASSES:
            return "the captured graph compiles and runs by itself without a failure" + (
                f" ({answer.reason})" if answer.reason else ""
            )
        case Verdict.DIFFERENT:
            return f"the captured graph fails in another way: {answer.reason}"
        case Verdict.INVALID:
            return answer.reason
    return f"the judge failed: {answer.reason}"
