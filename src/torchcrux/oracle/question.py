"""One question: does this script still fail as expected? What a child is asked, and what its end
says."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torchcrux.emit.random import draws
from torchcrux.oracle.answer import Answer, from_json
from torchcrux.oracle.deadly import death
from torchcrux.oracle.failure import Failure, Kind
from torchcrux.oracle.judge import Verdict
from torchcrux.oracle.naming import renamed
from torchcrux.oracle.signature import why_different
from torchcrux.oracle.tolerance import ATTRIBUTES, Tolerance
from torchcrux.passes.base import Draft
from torchcrux.program.context import Context
from torchcrux.run import Outcome, Status, Task

JUDGE = "torchcrux.oracle.judge:judge"
DEADLY_JUDGE = "torchcrux.oracle.deadly:judge"


@dataclass(frozen=True, slots=True)
class Question:
    """`names` are what the values of the captured program were called, `stems` the same without
    their numbers. `eager` is as in `Oracle`."""

    expected: Failure
    names: Collection[str]
    stems: Sequence[str]
    match: str | None
    eager: str

    @property
    def accuracy(self) -> bool:
        return self.expected.kind is Kind.ACCURACY

    @property
    def deadly(self) -> bool:
        return self.expected.kind in (Kind.CRASH, Kind.HANG)

    @property
    def attribute(self) -> str:
        """What of the outputs is compared instead of their values, if anything."""
        named = str((self.expected.metric or {}).get("attribute", ""))
        return named if self.accuracy and named in ATTRIBUTES else ""

    def context(self, draft: Draft) -> Context:
        """Where random numbers are drawn inside the function, the compiler must draw eager's."""
        context = draft.context
        if not (
            self.accuracy
            and context.backend.name == "inductor"
            and draws(draft.program, draft.context.operators)
        ):
            return context
        line = "torch._inductor.config.fallback_random = True"
        if line in context.config:
            return context
        return replace(context, config=(*context.config, line))

    def task(
        self,
        draft: Draft,
        text: str,
        data: Mapping[str, Sequence[str]],
        *,
        timeout: float,
        limit: float,
    ) -> Task:
        """The child ends after `timeout` seconds; what may hang, hangs after `limit`."""
        payload: dict[str, Any] = {
            "text": text,
            "data": dict(data),
            "renamed": renamed(draft.program),
        }
        if self.deadly:
            payload |= {"limit": limit, "eager": self.eager}
            return Task(DEADLY_JUDGE, payload, timeout=timeout)
        payload |= {
            "expected": self.expected.to_json(),
            "expected_names": self.stems,
            "match": self.match,
            "backward": self.accuracy and draft.context.backward,
            "attribute": self.attribute,
            "reference": not self.attribute and Tolerance.of(self.expected.metric) is None,
            "draws": draws(draft.program, draft.context.operators),
        }
        return Task(JUDGE, payload, timeout=timeout)

    def answer(self, task: Task, outcome: Outcome) -> Answer:
        text = str(task.payload["text"])
        ended = outcome.status not in (Status.DONE, Status.RAISED, Status.LOST)
        if self.deadly and ended:
            return self._of_death(task, text, outcome)
        match outcome.status:
            case Status.DONE:
                return from_json(text, outcome.value)
            case Status.SIGNALLED | Status.EXITED:
                return Answer(Verdict.DIFFERENT, text, reason=f"the process ended: {outcome.code}")
            case Status.TIMED_OUT:
                reason = f"not finished after {task.timeout:g} s"
                return Answer(Verdict.DIFFERENT, text, reason=reason)
            case Status.OUT_OF_MEMORY:
                return Answer(Verdict.DIFFERENT, text, reason="it ran out of memory")
        return Answer(Verdict.BROKEN, text, reason=outcome.error or outcome.status.value)

    def _of_death(self, task: Task, text: str, outcome: Outcome) -> Answer:
        found = death(outcome, Path(task.payload["trail"]), task.payload["limit"])
        if found.failure is None:
            return Answer(Verdict.INVALID, text, reason=found.reason)
        different = why_different(
            self.expected,
            self.names,
            found.failure,
            [name for name, _ in task.payload["renamed"]],
            match=re.compile(self.match) if self.match else None,
            renamed=task.payload["renamed"],
        )
        verdict = Verdict.SAME if different is None else Verdict.DIFFERENT
        return Answer(verdict, text, found.failure, different or "", outcome.seconds)
