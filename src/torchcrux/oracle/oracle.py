"""Asks whether drafts still fail in the same way: prints them, judges the texts, remembers.

A text is judged once, however many drafts print as it and however often a run is resumed.
"""

from __future__ import annotations

import hashlib
import json
import signal
import traceback
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torchcrux.core.journal import Journal
from torchcrux.emit.inputs import Unmakeable
from torchcrux.emit.random import draws
from torchcrux.emit.script import script
from torchcrux.oracle.answer import Answer, Flaky, from_json, to_json
from torchcrux.oracle.cost import bound_of
from torchcrux.oracle.divergence import Suspects, begun, observed
from torchcrux.oracle.failure import Failure, Kind
from torchcrux.oracle.frequency import Frequency
from torchcrux.oracle.judge import Verdict
from torchcrux.oracle.naming import stems
from torchcrux.oracle.patience import Patience
from torchcrux.oracle.question import Question
from torchcrux.oracle.tolerance import Tolerance
from torchcrux.oracle.trial import Trials
from torchcrux.oracle.values import Values
from torchcrux.passes.base import Draft
from torchcrux.run import Outcome, Pool, Status, Task

DIVERGENCE = "torchcrux.oracle.divergence:first_difference"

REPEATS = 3
LEAST_LIMIT = 3.0
LIMIT_FACTOR = 10.0
"""A candidate of a hang has so many seconds, or so many times what the slowest passing one took."""


@dataclass(frozen=True, slots=True)
class _Asked:
    draft: Draft
    key: str
    text: str
    task: Task


@dataclass
class Oracle:
    """`expected` is the failure to keep, `names` what the values of its program were called.

    `hang` are the seconds after which the script of a hang ends itself. Candidates get less, unless
    `patient`: see `limit`. `eager` is the exception that eager raises, if the captured program
    does not run in eager either. `times` is how often a script tries its luck, `votes` how often a
    script that passes is asked. The first failure seen is repeated `repeats` times, beside what is
    asked next, on cores that have nothing to do then. `ahead` gives at most so many drafts that
    may be asked next: they are judged beside what is asked, in jobs that are free.
    """

    pool: Pool
    journal: Journal
    values: Values
    expected: Failure
    names: Collection[str]
    timeout: float
    match: str | None = None
    hang: float | None = None
    patient: bool = False
    eager: str = ""
    times: int = 1
    votes: int = 1
    repeats: int = REPEATS
    slowest: float = 0.0
    on_answer: Callable[[Draft, Answer], None] = lambda draft, answer: None
    on_other: Callable[[Answer], None] = lambda answer: None
    ahead: Callable[[int], Iterable[Draft]] = lambda count: ()
    confirm: Callable[[Draft, Answer], Answer] | None = None
    queries: int = 0
    broken: list[Answer] = field(default_factory=list)
    trials: Trials = field(init=False)
    patience: Patience = field(init=False)
    _stems: list[str] = field(init=False)
    _adopted: bool = False
    _failing: Draft | None = None
    _left: int = 0
    _seen: Frequency = field(default_factory=lambda: Frequency(1, 1))

    def __post_init__(self) -> None:
        self._stems = stems(self.names)
        self.patience = Patience(self.timeout)
        self.trials = Trials(self.pool, self.values, self.timeout, self.fault, self.eager)

    @property
    def question(self) -> Question:
        return Question(self.expected, self.names, self._stems, self.match, self.eager)

    def text(self, draft: Draft, note: str = "") -> str:
        question = self.question
        return script(
            draft.program,
            question.context(draft),
            accuracy=question.accuracy,
            attribute=question.attribute,
            tolerance=Tolerance.of(self.expected.metric),
            note=note,
            limit=self.hang,
            times=self.times,
            bound=bound_of(self.expected),
        )

    @property
    def limit(self) -> float:
        """Seconds after which a candidate counts as hanging."""
        longest = self.timeout if self.hang is None else self.hang
        if self.patient or self.hang is None:
            return longest
        return min(longest, max(LEAST_LIMIT, LIMIT_FACTOR * self.slowest))

    def runs(self, drafts: Sequence[Draft], base: Draft) -> list[Draft | None]:
        """What eager makes of the drafts, which were made from `base`: no question, no verdict."""
        return self.trials(drafts, base)

    def ask(self, drafts: Sequence[Draft | None]) -> list[Answer]:
        """Judge the drafts of one round, in parallel. None stands for what is no program."""
        parts = self.values.portions(drafts)
        if len(parts) > 1:
            return [one for part in parts for one in self.ask(drafts[part.start : part.stop])]
        self.values.ensure([draft for draft in drafts if draft is not None])
        answers: list[Answer | None] = [None] * len(drafts)
        waiting: dict[str, list[int]] = {}
        tasks: dict[str, _Asked] = {}
        for i, draft in enumerate(drafts):
            asked = self._asked(draft)
            if isinstance(asked, Answer):
                answers[i] = asked
            else:
                waiting.setdefault(asked.key, []).append(i)
                tasks.setdefault(asked.key, asked)
        for asked in self._free_for(len(tasks)):
            tasks.setdefault(asked.key, asked)
        judged, repeated = self._judged_beside([*tasks.values()])
        for asked, answer in zip(tasks.values(), judged, strict=True):
            if answer.verdict is Verdict.SAME:
                self._failed(asked.draft)
            if answer.verdict is Verdict.BROKEN:
                self.broken.append(answer)
            elif answer.seconds:  # it has ended by itself
                self.patience.ended(asked.draft.program.operations, answer.seconds)
            self._record(asked.key, asked.task, answer)
            if answer.verdict is Verdict.PASSES:
                self.slowest = max(self.slowest, answer.seconds)
            if answer.verdict is Verdict.DIFFERENT:
                self.on_other(answer)
            for i in waiting.get(asked.key, ()):
                answers[i] = answer
        if repeated is not None:
            raise repeated
        final = [answer for answer in answers if answer is not None]
        if self.confirm is not None:
            final = [
                answer if draft is None else self.confirm(draft, answer)
                for draft, answer in zip(drafts, final, strict=True)
            ]
        for draft, answer in zip(drafts, final, strict=True):
            if draft is not None:
                self.on_answer(draft, answer)
        return final

    def _asked(self, draft: Draft | None) -> _Asked | Answer:
        """What to ask about a draft; the answer, where that is known without."""
        try:
            if draft is None:
                raise Unmakeable("this is no program")
            text = self.text(draft)
        except Unmakeable as reason:
            return Answer(Verdict.INVALID, reason=str(reason))
        except Exception:  # the edit that made the draft, or the printer, is at fault
            return self.fault()
        data = self.values.sources(draft.program)
        key = self._key(text, data)
        known = self._known(key)
        if known is not None:
            return from_json(text, known)
        return _Asked(draft, key, text, self._task(draft, text, data))

    def _free_for(self, count: int) -> list[_Asked]:
        """What is asked ahead beside `count` questions, in jobs that are free. Not where time or
        memory is what fails, nor where others would wait for one that hangs."""
        spare = -count % self.pool.jobs
        if not (count and spare) or self._left or self.votes > 1:
            return []
        if self.expected.kind not in (Kind.COMPILE_ERROR, Kind.RUNTIME_ERROR, Kind.ACCURACY):
            return []
        drafts = [*self.ahead(spare)]
        self.values.ensure(drafts)
        return [one for one in map(self._asked, drafts) if isinstance(one, _Asked)]

    @property
    def has_suspects(self) -> bool:
        """Whether numbers are wrong."""
        return self.question.accuracy and not self.question.attribute

    def suspects(self, draft: Draft, *, at_first: bool = False) -> Suspects:
        """Calls of which one makes numbers wrong first, where they are; none if that is not known,
        or `at_first`, if that is not in how a large program begins. It is asked once, and each look
        costs a question."""
        view = (begun if at_first else observed)(draft) if self.has_suspects else None
        if view is None:
            return ()
        shown, suspects = view
        index = self._first_difference(shown, draws(draft.program, draft.context.operators))
        return suspects[index] if index is not None and index < len(suspects) else ()

    def _first_difference(self, shown: Draft, draws: bool) -> int | None:
        self.values.ensure([shown])
        try:
            text = self.text(shown)
        except Unmakeable:
            return None
        data = self.values.sources(shown.program)
        key = f"suspect:{self._key(text, data)}"
        known = self.journal.get(key)
        if known is None:
            payload = {
                "text": text,
                "data": data,
                "backward": shown.context.backward,
                "draws": draws,
                "threads": self.pool.jobs,
            }
            task = Task(DIVERGENCE, payload, timeout=self.timeout)
            (outcome,) = self.pool.run([task])
            self.queries += 1
            known = {"index": outcome.value["index"] if outcome.status is Status.DONE else None}
            self.journal.record(key, known)
        index: int | None = known["index"]
        return index

    def adopt(self, failure: Failure) -> bool:
        """Expect `failure` from here on, if that is another sign of the same wrong numbers: a dtype
        instead of values, say. The caller knows that it arises in the same place. Done once."""
        both = failure.kind is self.expected.kind is Kind.ACCURACY
        if self._adopted or self.match or self.question.attribute or not both:
            return False
        metric = {**(failure.metric or {})}
        if self.expected.metric and "tolerance" in self.expected.metric:
            metric["tolerance"] = self.expected.metric["tolerance"]
        self.expected = replace(self.expected, exceptions=failure.exceptions, metric=metric)
        self._adopted = True
        return True

    def fault(self) -> Answer:
        """The answer for a draft that our own code has just raised an exception about."""
        answer = Answer(Verdict.BROKEN, reason=traceback.format_exc())
        self.broken.append(answer)
        return answer

    def _record(self, key: str, task: Task, answer: Answer) -> None:
        """Unless that was done as soon as it was known."""
        known = {**to_json(answer), "limit": task.payload.get("limit")}
        if answer.verdict is not Verdict.BROKEN and self.journal.get(key) != known:
            self.journal.record(key, known)

    def _failed(self, draft: Draft) -> None:
        """What failed is repeated from here on; the smaller, the sooner that is done."""
        if self.repeats:
            self._failing, self._left, self.repeats = draft, self.repeats, 0
        elif self._left and self._failing is not None:
            self._failing = min(self._failing, draft, key=lambda one: one.program.operations)

    def _judged_beside(self, tasks: Sequence[_Asked]) -> tuple[list[Answer], Flaky | None]:
        """The answers; and beside them whether a failure comes again, where that is no larger than
        what is asked: it would take longer."""
        asked = [(one.text, one.task) for one in tasks]
        largest = max([one.draft.program.operations for one in tasks], default=0)
        spare = -len(tasks) % self.pool.jobs or int(self.pool.jobs == 1)
        small = self._failing is not None and self._failing.program.operations <= largest
        if not (self._left and tasks and spare and small):
            return self._judged(asked, [(one.key, one.task) for one in tasks]), None
        return self._repeated(asked, spare)

    def _repeated(
        self, asked: Sequence[tuple[str, Task]], most: int
    ) -> tuple[list[Answer], Flaky | None]:
        """The answers; and what `most` repetitions of a failure beside them say of it."""
        draft, count = self._failing, min(self._left, most)
        assert draft is not None
        self._left -= count
        text = self.text(draft)
        again = (text, self._task(draft, text, self.values.sources(draft.program)))
        answers = self._run([*asked, *[again] * count])
        failed = sum(one.verdict is Verdict.SAME for one in answers[len(asked) :])
        self._seen += Frequency(failed, count)
        return answers[: len(asked)], None if failed == count else Flaky(draft, self._seen)

    def settle(self) -> None:
        """Repeat what failed as often as that is left to do. Raises Flaky."""
        if self._left:
            _, repeated = self._repeated([], self._left)
            if repeated is not None:
                raise repeated

    def _judged(
        self, asked: Sequence[tuple[str, Task]], known_as: Sequence[tuple[str, Task]] = ()
    ) -> list[Answer]:
        """Judge each text until it does not pass, `votes` times at most. What is sure is recorded
        at once."""
        if self.votes == 1:
            return self._run(asked, known_as)
        answers: dict[int, Answer] = {}
        left = dict.fromkeys(range(len(asked)), self.votes)
        while left:
            copies = max(1, self.pool.jobs // len(left))
            batch = [i for i, most in left.items() for _ in range(min(copies, most))]
            for i, answer in zip(batch, self._run([asked[i] for i in batch]), strict=True):
                left[i] -= 1
                if i not in answers or answers[i].verdict is Verdict.PASSES:
                    answers[i] = answer
            left = {
                i: most
                for i, most in left.items()
                if most > 0 and answers[i].verdict is Verdict.PASSES
            }
        return [answers[i] for i in range(len(asked))]

    def _run(
        self, asked: Sequence[tuple[str, Task]], known_as: Sequence[tuple[str, Task]] = ()
    ) -> list[Answer]:
        tasks: list[Task] = []
        question = self.question
        threads = self.pool.jobs // max(1, len(asked))

        def told(i: int, outcome: Outcome) -> None:
            if i < len(known_as) and outcome.code != signal.SIGKILL:
                self._record(*known_as[i], question.answer(tasks[i], outcome))

        for i, (_, task) in enumerate(asked):
            task = replace(task, payload={**task.payload, "threads": threads})
            if question.deadly:  # a text may be asked several times at once
                trail = str(self.values.scratch / f"trail-{self.queries + i}")
                task = replace(task, payload={**task.payload, "trail": trail})
            tasks.append(task)
        self.queries += len(tasks)
        outcomes = self._outcomes(tasks, told)
        return [
            question.answer(task, outcome) for task, outcome in zip(tasks, outcomes, strict=True)
        ]

    def _outcomes(
        self, tasks: Sequence[Task], told: Callable[[int, Outcome], None]
    ) -> list[Outcome]:
        """No candidate sends itself SIGKILL: one that was killed by somebody is asked again, by
        itself, since it may have been for want of memory."""
        outcomes = self.pool.run(tasks, told)
        killed = [i for i, outcome in enumerate(outcomes) if outcome.code == signal.SIGKILL]
        if killed and not self.question.deadly:
            for i in killed:
                (outcomes[i],) = self.pool.run([tasks[i]])
        return outcomes

    def repeat(self, draft: Draft, count: int) -> Frequency:
        """How many of `count` runs of one script fail in the same way."""
        answers = self.once([draft] * count)
        return Frequency(sum(one.verdict is Verdict.SAME for one in answers), count)

    def once(self, drafts: Sequence[Draft]) -> list[Answer]:
        """The answers of one run each, alike or not. Nothing is remembered or journalled."""
        self.values.ensure(drafts)
        asked = []
        for draft in drafts:
            text = self.text(draft)
            asked.append((text, self._task(draft, text, self.values.sources(draft.program))))
        return self._run(asked)

    def try_often(self, frequency: Frequency, looped: bool) -> None:
        """From here on a candidate passes only after as many tries as `frequency` asks for: in a
        loop of the script if `looped`, else in a process each."""
        self.times = frequency.tries if looped else 1
        self.votes = 1 if looped else frequency.tries
        self.repeats = self._left = 0

    def _key(self, text: str, data: Mapping[str, Sequence[str]]) -> str:
        asked = [sorted(data), self.values.drafts, self.match, self.votes]
        digest = hashlib.sha256(text.encode())
        digest.update(json.dumps(asked + ["adopted"] * self._adopted).encode())
        return digest.hexdigest()

    def _known(self, key: str) -> Mapping[str, Any] | None:
        """What was answered before. That a candidate hung is worth asking again with more
        patience."""
        known: Mapping[str, Any] | None = self.journal.get(key)
        if known is not None and self.patient and known["verdict"] == Verdict.SAME.value:
            return known if (known.get("limit") or 0.0) >= self.limit else None
        return known

    def _task(self, draft: Draft, text: str, data: Mapping[str, Sequence[str]]) -> Task:
        hangs = self.expected.kind is Kind.HANG
        timeout = self.timeout if hangs else self.patience.of(draft.program.operations)
        return self.question.task(draft, text, data, timeout=timeout, limit=self.limit)
