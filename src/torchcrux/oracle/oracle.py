"""Asks whether drafts still fail in the same way: prints them, judges the texts, remembers.

A text is judged once, however many drafts print as it and however often a run is resumed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torchcrux.core.journal import Journal
from torchcrux.emit.inputs import Unmakeable
from torchcrux.emit.names import variables
from torchcrux.emit.random import draws_random, name_of
from torchcrux.emit.script import script
from torchcrux.oracle.failure import Failure, Kind
from torchcrux.oracle.judge import Verdict
from torchcrux.oracle.trial import Trials
from torchcrux.oracle.values import Values
from torchcrux.passes.base import Draft
from torchcrux.program.context import Context
from torchcrux.program.ir import Op
from torchcrux.run import Outcome, Pool, Status, Task

JUDGE = "torchcrux.oracle.judge:judge"


@dataclass(frozen=True, slots=True)
class Answer:
    """A verdict on a draft, the text that was judged, and what happened instead."""

    verdict: Verdict
    text: str = ""
    failure: Failure | None = None
    reason: str = ""
    seconds: float = 0.0


@dataclass
class Oracle:
    """`expected` is the failure to keep, `names` what the values of its program were called."""

    pool: Pool
    journal: Journal
    values: Values
    expected: Failure
    names: Collection[str]
    timeout: float
    match: str | None = None
    on_answer: Callable[[Draft, Answer], None] = lambda draft, answer: None
    on_other: Callable[[Answer], None] = lambda answer: None
    queries: int = 0
    broken: list[Answer] = field(default_factory=list)
    trials: Trials = field(init=False)

    def __post_init__(self) -> None:
        self.trials = Trials(self.pool, self.values, self.timeout)

    @property
    def accuracy(self) -> bool:
        return self.expected.kind is Kind.ACCURACY

    def text(self, draft: Draft, note: str = "") -> str:
        return script(draft.program, self._context(draft), accuracy=self.accuracy, note=note)

    def runs(self, drafts: Sequence[Draft], base: Draft) -> list[Draft | None]:
        """What eager makes of the drafts, which were made from `base`: no question, no verdict."""
        return self.trials(drafts, base)

    def ask(self, drafts: Sequence[Draft | None]) -> list[Answer]:
        """Judge the drafts of one round, in parallel. None stands for what is no program."""
        self.values.ensure([draft for draft in drafts if draft is not None])
        answers: list[Answer | None] = [None] * len(drafts)
        waiting: dict[str, list[int]] = {}
        tasks: list[tuple[str, str, Task]] = []
        for i, draft in enumerate(drafts):
            try:
                if draft is None:
                    raise Unmakeable("this is no program")
                text = self.text(draft)
            except Unmakeable as reason:
                answers[i] = Answer(Verdict.INVALID, reason=str(reason))
                continue
            data = self.values.sources(draft.program)
            key = self._key(text, data)
            known = self.journal.get(key)
            if known is not None:
                answers[i] = _from_json(text, known)
            elif key in waiting:
                waiting[key].append(i)
            else:
                waiting[key] = [i]
                tasks.append((key, text, self._task(draft, text, data)))
        for (key, text, _), outcome in zip(
            tasks, self.pool.run([task for _, _, task in tasks]), strict=True
        ):
            self.queries += 1
            answer = self._answer(text, outcome)
            if answer.verdict is Verdict.BROKEN:
                self.broken.append(answer)
            else:
                self.journal.record(key, _to_json(answer))
            if answer.verdict is Verdict.DIFFERENT:
                self.on_other(answer)
            for i in waiting[key]:
                answers[i] = answer
        final = [answer for answer in answers if answer is not None]
        for draft, answer in zip(drafts, final, strict=True):
            if draft is not None:
                self.on_answer(draft, answer)
        return final

    def _context(self, draft: Draft) -> Context:
        """Where random numbers are drawn inside the function, the compiler must draw eager's."""
        context = draft.context
        if not (self.accuracy and context.backend.name == "inductor"):
            return context
        if not any(draws_random(node) for node in draft.program.calls):
            return context
        line = "torch._inductor.config.fallback_random = True"
        if line in context.config:
            return context
        return Context(
            **{
                **{name: getattr(context, name) for name in Context.__slots__},
                "config": (*context.config, line),
            }
        )

    def _key(self, text: str, data: Mapping[str, Sequence[str]]) -> str:
        return hashlib.sha256(
            json.dumps([text, sorted(data.items()), self.match]).encode()
        ).hexdigest()

    def _task(self, draft: Draft, text: str, data: Mapping[str, Sequence[str]]) -> Task:
        return Task(
            JUDGE,
            {
                "text": text,
                "renamed": _renamed(draft),
                "expected": self.expected.to_json(),
                "expected_names": sorted(self.names),
                "match": self.match,
                "data": dict(data),
                "reference": not any(draws_random(node) for node in draft.program.calls),
            },
            timeout=self.timeout,
        )

    def _answer(self, text: str, outcome: Outcome) -> Answer:
        match outcome.status:
            case Status.DONE:
                return _from_json(text, outcome.value)
            case Status.SIGNALLED | Status.EXITED:
                return Answer(Verdict.DIFFERENT, text, reason=f"the process ended: {outcome.code}")
            case Status.TIMED_OUT:
                return Answer(
                    Verdict.DIFFERENT, text, reason=f"not finished after {self.timeout:g} s"
                )
            case Status.OUT_OF_MEMORY:
                return Answer(Verdict.DIFFERENT, text, reason="it ran out of memory")
        return Answer(Verdict.BROKEN, text, reason=outcome.error or outcome.status.value)


def _renamed(draft: Draft) -> list[tuple[str, str]]:
    """Names of values in a script, or in the graph that Dynamo makes of it, with captured names.

    Dynamo names a value after its variable, an input after the argument, and what has no variable
    after the operation.
    """
    pairs = []
    for name, variable in variables(draft.program).items():
        node = draft.program.by_name[name]
        derived = (f"l_{variable}_", f"L_{variable}_") if node.op is Op.INPUT else (name_of(node),)
        pairs += [(one, name) for one in (variable, *derived)]
    return pairs


def hinted(draft: Draft, failure: Failure) -> int:
    """A mask of the calls that the failure's message names (bit i for the i-th call)."""
    words = set(re.findall(r"[a-z][a-z0-9_]{2,}", failure.text.lower()))
    mask = 0
    for i, node in enumerate(draft.program.calls):
        name = name_of(node).strip("_")
        stem = re.sub(r"\d+d?$", "", name)
        if name in words or any(len(stem) > 3 and word.startswith(stem) for word in words):
            mask |= 1 << i
    return mask


def _to_json(answer: Answer) -> dict[str, Any]:
    return {
        "verdict": answer.verdict.value,
        "failure": None if answer.failure is None else answer.failure.to_json(),
        "reason": answer.reason,
        "seconds": answer.seconds,
    }


def _from_json(text: str, data: Mapping[str, Any]) -> Answer:
    failure = data.get("failure")
    return Answer(
        Verdict(data["verdict"]),
        text,
        None if failure is None else Failure.from_json(failure),
        data.get("reason", ""),
        data.get("seconds", 0.0),
    )
