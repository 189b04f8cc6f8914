"""What the oracle says of a draft."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torchcrux.oracle.failure import Failure
from torchcrux.oracle.frequency import Frequency
from torchcrux.oracle.judge import Verdict
from torchcrux.passes.base import Draft


@dataclass(frozen=True, slots=True)
class Answer:
    """A verdict on a draft, the text that was judged, and what happened instead."""

    verdict: Verdict
    text: str = ""
    failure: Failure | None = None
    reason: str = ""
    seconds: float = 0.0


class Flaky(Exception):
    """What failed does not fail always."""

    def __init__(self, draft: Draft, seen: Frequency) -> None:
        super().__init__(f"it failed {seen} times")
        self.draft = draft
        self.seen = seen


def to_json(answer: Answer) -> dict[str, Any]:
    return {
        "verdict": answer.verdict.value,
        "failure": None if answer.failure is None else answer.failure.to_json(),
        "reason": answer.reason,
        "seconds": answer.seconds,
    }


def from_json(text: str, data: Mapping[str, Any]) -> Answer:
    failure = data.get("failure")
    return Answer(
        Verdict(data["verdict"]),
        text,
        None if failure is None else Failure.from_json(failure),
        data.get("reason", ""),
        data.get("seconds", 0.0),
    )
