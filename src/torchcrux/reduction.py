"""From a captured failure to the smallest draft that still fails in the same way.

First the cut, in the plainest form of the program that fails at all; then every other pass, round
and round, until a whole round changes nothing. The answers of that last round are the certificate.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import TypeAlias, cast

from torchcrux.certificate import Certificate, Necessary, certificate
from torchcrux.core.order import Simplicity
from torchcrux.core.reduction import chosen, drive
from torchcrux.core.search.masks import Search
from torchcrux.core.search.merge import few, merge
from torchcrux.emit.inputs import uses_random
from torchcrux.first_cut import DoesNotFail, FirstCut
from torchcrux.forms import formed, most_faithful
from torchcrux.guess import GUESSED, Optimist, guesses
from torchcrux.oracle.answer import Answer
from torchcrux.oracle.judge import Verdict
from torchcrux.oracle.oracle import Oracle
from torchcrux.passes import ALL, CutLevel, Draft, Edit, Pass
from torchcrux.passes.arguments import Numbers
from torchcrux.passes.bypass import Bypass
from torchcrux.passes.cut import Cut
from torchcrux.passes.scattered import kept_inputs
from torchcrux.passes.trying import Runs, Searching, TriedFirst
from torchcrux.program.cut import severed, writable
from torchcrux.program.ir import Value

SEVERAL = 4
"""Operations of which one is more likely than not without need."""


Candidate: TypeAlias = Callable[[int], Draft | None]


class Stopped(Exception):
    """The budget is spent or the user asked to stop."""


@dataclass
class Reducer:
    """Drives the passes. `on_best` is called with each better draft as soon as it is verified."""

    oracle: Oracle
    draft: Draft
    on_best: Callable[[Draft, Answer], None]
    passes: Sequence[Pass] = ALL
    deadline: float | None = None
    only_parts: bool = False
    """Give up unless something that the failure names suffices by itself, in the plainest form; a
    window, where it names nothing."""
    unkept: bool = False
    """The values of the inputs can be had: give up where they seem to be needed."""
    progress: Callable[[str], None] = lambda text: None
    best: Draft | None = None
    best_answer: Answer | None = None
    proof: Certificate | None = None
    rounds: int = 0
    _rank: Simplicity | None = None
    _coming: Iterator[Draft] = field(default_factory=lambda: iter(()))

    def run(self) -> Draft:
        """The smallest draft found. Raises NotReproduced; or Stopped, with `best` set if it has
        one."""
        self.oracle.on_answer = self._remember
        self.oracle.ahead = lambda count: islice(self._coming, count)
        draft = FirstCut(self).run(replace(self.draft, program=writable(self.draft.program)))
        guessed = False
        returned: list[Simplicity | None] = []
        while True:
            before, looked = draft, None
            left = deque(_in_order(self.passes, draft))
            while left:
                one = left.popleft()
                if type(one) in GUESSED and not guessed:
                    draft, guessed = self._guess(draft), True
                if draft != looked:
                    looked, self._coming = draft, self._first_asked(left, draft, guessed)
                draft = self._pass(one, draft)
            if draft != before:
                continue
            if self.best is not None and self._is_left_behind(draft):
                draft = self.best
                if self._rank not in returned:
                    returned.append(self._rank)
                    continue
            rank = self._rank
            self.certify(draft)
            if self._rank == rank or self.best is None:
                break
            draft = self.best  # one more step, that no pass has tried
        self.oracle.settle()
        return draft

    def _pass(self, one: Pass, draft: Draft) -> Draft:
        return self._follow(one, draft) if isinstance(one, Searching) else self.apply(one, draft)

    def _is_left_behind(self, draft: Draft) -> bool:
        """Whether a simpler one than `draft` failed on the way: there are failures for which each
        of two sizes may be small, but not both."""
        (answer,) = self.ask([draft])  # known
        return self._rank is not None and simplicity(draft, answer.text) > self._rank

    def _first_asked(self, left: deque[Pass], draft: Draft, guessed: bool) -> Iterator[Draft]:
        """What the passes that are `left` will ask first about the draft, if none before them
        changes it."""
        seen: set[int] = set()
        while True:
            one = next((one for one in left if id(one) not in seen), None)
            if one is None or (type(one) in GUESSED and not guessed):
                return
            seen.add(id(one))
            if isinstance(one, Searching):
                asked: Sequence[Draft | None] = next(one.search(draft, self._runs(draft)), ())
            else:
                search, candidate = self._level(one, draft)
                asked = [] if search is None else [*map(candidate, next(search))]
            yield from filter(None, asked)

    def _guess(self, draft: Draft) -> Draft:
        oracle = cast(Oracle, Optimist(self.oracle))
        optimist = replace(self, oracle=oracle, progress=lambda text: None)
        found = guesses(draft, self.passes, optimist._pass)
        answers = self.ask(found) if found else []
        told = zip(found, answers, strict=True)
        return next((one for one, answer in told if answer.verdict is Verdict.SAME), draft)

    def certify(self, draft: Draft) -> None:
        """Ask every single further edit of `draft`: those asked before cost nothing now. It is
        minimal if none is the same failure."""
        self.proof = None
        edits = [(one, edit) for one in self.passes for edit in self._edits(one, draft)]
        measured = self._measured(draft)
        drafts = [
            self._single(one, edit, measured if isinstance(one, Cut) else draft)
            for one, edit in edits
        ]
        answers = self.ask(drafts)
        try:
            asked = zip((edit for _, edit in edits), drafts, answers, strict=True)
            self.proof = certificate(draft, [*asked])
        except Exception:  # it could not be put into words
            self.oracle.fault()

    @property
    def minimal(self) -> bool:
        return self.proof is not None and self.proof.minimal

    @property
    def necessary(self) -> tuple[Necessary, ...]:
        return () if self.proof is None else self.proof.entries

    def most_faithful(self) -> Draft:
        """What was captured, uncut, with its context and its values."""
        whole = replace(self.draft, program=writable(self.draft.program))
        return formed(whole, most_faithful(self.oracle.expected), self.oracle.expected)

    def apply(self, one: Pass, draft: Draft) -> Draft:
        search, candidate = self._level(one, draft)
        if search is None:
            return draft
        self.progress(f"{one.name}: {draft.program.operations} operations")
        mask = self.search(search, candidate, verified=True)
        return (candidate(mask) or draft) if mask else draft

    def _level(self, one: Pass, draft: Draft) -> tuple[Search | None, Candidate]:
        """How to search among the edits of a pass, and the draft with those in a mask; no search
        where there are none."""
        if isinstance(one, Cut):
            level = CutLevel(self._measured(draft), severed(draft.program))
            return (merge(level.size) if level.size else None), level.candidate
        edits = self._edits(one, draft)

        def candidate(mask: int) -> Draft | None:
            changed = self._edited(draft, chosen(edits, mask))
            if changed is None:
                return None
            if isinstance(one, TriedFirst):
                return _changed(draft, changed, self._runs(draft))
            return None if changed == draft else changed

        return (few(len(edits)) if edits else None), candidate

    def _measured(self, draft: Draft) -> Draft:
        """With what eager computes, where a cut leaves that in the place of calls."""
        if severed(draft.program) is not Value.LITERAL:
            return draft
        return self._runs(draft)([draft])[0] or draft

    def _edits(self, one: Pass, draft: Draft) -> list[Edit]:
        """The edits of a pass, without those that eager refuses."""
        if isinstance(one, Searching):
            return one.neighbours(draft, self._runs(draft))
        edits = list(one.edits(draft))
        if not isinstance(one, TriedFirst):
            return edits
        made = [(edit, self._edited(draft, [edit])) for edit in edits]
        pairs = [(edit, changed) for edit, changed in made if changed is not None]
        told = self._runs(draft)([changed for _, changed in pairs])
        return [
            edit
            for (edit, changed), ran in zip(pairs, told, strict=True)
            if ran is not None and changed != draft and changed.program.calls
        ]

    def _edited(self, draft: Draft, edits: Sequence[Edit]) -> Draft | None:
        """The draft with `edits` applied; None, and a fault of ours, if one of them breaks."""
        try:
            return applied(draft, edits)
        except Exception:
            self.oracle.fault()
            return None

    def _runs(self, draft: Draft) -> Runs:
        """What eager makes of drafts made from `draft`."""
        return partial(self.oracle.runs, base=draft)

    def _follow(self, one: Searching, draft: Draft) -> Draft:
        """Let a pass search by itself."""
        self.progress(f"{one.name}: {draft.program.operations} operations")
        steps = one.search(draft, self._runs(draft))
        told: list[bool] | None = None
        while True:
            try:
                asked = next(steps) if told is None else steps.send(told)
            except StopIteration as end:
                best: Draft = end.value
                return best
            told = [answer.verdict is Verdict.SAME for answer in self.ask(asked)]

    def search(
        self,
        search: Search,
        candidate: Callable[[int], Draft | None],
        cheap: int = 1,
        *,
        verified: bool = False,
    ) -> int:
        """Drive `search`. Unless `verified`, the unchanged draft is asked only when the first,
        `cheap`, rounds found nothing. Raises DoesNotFail if it does not fail either."""

        def ask(masks: Sequence[int]) -> list[bool]:
            nonlocal verified, cheap
            answers = self.ask([candidate(mask) for mask in masks])
            told = [answer.verdict is Verdict.SAME for answer in answers]
            verified = verified or any(told)
            cheap -= 1
            if not verified and cheap <= 0 and self.only_parts:
                raise DoesNotFail(answers[-1])
            if not verified and cheap <= 0:
                (answer,) = self.ask([candidate(0)])
                if answer.verdict is not Verdict.SAME:
                    raise DoesNotFail(answer)
                verified = True
            return told

        return drive(search, ask)

    def ask(self, drafts: Sequence[Draft | None]) -> list[Answer]:
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise Stopped("the budget is spent")
        self.rounds += 1
        answers = self.oracle.ask(drafts)
        if any(answer.verdict is Verdict.SAME for answer in answers):
            self._coming = iter(())  # another draft is asked about next
        return answers

    def _remember(self, draft: Draft, answer: Answer) -> None:
        if answer.verdict is not Verdict.SAME:
            return
        rank = simplicity(draft, answer.text)
        if self._rank is None or rank < self._rank:
            self.best, self.best_answer, self._rank = draft, answer, rank
            self.on_best(draft, answer)

    def _single(self, one: Pass, edit: Edit, draft: Draft) -> Draft | None:
        changed = self._edited(draft, [edit])
        if changed is None:
            return None
        if isinstance(one, (TriedFirst, Searching)):
            return _changed(draft, changed, self._runs(draft))
        return None if changed == draft or not changed.program.calls else changed


def _in_order(passes: Sequence[Pass], draft: Draft) -> list[Pass]:
    """Of several calls some can mostly be bypassed, and whatever is asked about their numbers
    before that is asked again."""
    ordered = [*passes]
    numbers = next((i for i, one in enumerate(passes) if isinstance(one, Numbers)), None)
    if numbers is not None and draft.program.operations >= SEVERAL:
        bypass = [one for one in ordered[numbers:] if isinstance(one, Bypass)]
        ordered[numbers:] = [*bypass, *(one for one in ordered[numbers:] if one not in bypass)]
    return ordered


def applied(draft: Draft, edits: Sequence[Edit]) -> Draft:
    for edit in edits:
        draft = edit.apply(draft)
    return draft


def _changed(draft: Draft, changed: Draft, runs: Runs) -> Draft | None:
    """What eager makes of a changed draft; None if it refuses, or nothing was changed."""
    if changed == draft or not changed.program.calls:
        return None
    return runs([changed])[0]


def simplicity(draft: Draft, text: str) -> Simplicity:
    program = draft.program
    return Simplicity.of(
        text,
        operations=program.operations,
        inputs=len(program.inputs),
        elements=program.elements,
        kept=len(kept_inputs(program)),
        drawn=sum(map(uses_random, program.inputs)),
    )
