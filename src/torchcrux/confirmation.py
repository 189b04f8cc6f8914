"""Whether what fails in a forked child does so in fresh interpreters as well.

Children of one server find the same rubbish in memory that nobody has written to. Where a failure
shows only with some of it, they agree with each other, and an interpreter of its own does not.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from torchcrux.core.journal import Journal
from torchcrux.oracle.answer import Answer
from torchcrux.oracle.judge import Verdict
from torchcrux.oracle.oracle import Oracle
from torchcrux.oracle.verify import FRESH_RUNS, difference
from torchcrux.output import Output
from torchcrux.passes import Draft


@dataclass
class Confirmation:
    """To be called with a draft and its answer: returns the answer, or that the draft passes if a
    fresh interpreter says so."""

    oracle: Oracle
    output: Output
    journal: Journal

    def __call__(self, draft: Draft, answer: Answer) -> Answer:
        if answer.verdict is not Verdict.SAME:
            return answer
        key = "fresh:" + hashlib.sha256(answer.text.encode()).hexdigest()
        known = self.journal.get(key)
        if known is None:
            known = {"failed": self._fails(draft, answer)}
            self.journal.record(key, known)
        if known["failed"]:
            return answer
        reason = "it does not always fail in a fresh interpreter"
        return replace(answer, verdict=Verdict.PASSES, reason=reason)

    def _fails(self, draft: Draft, answer: Answer) -> bool:
        assert answer.failure is not None
        with tempfile.TemporaryDirectory(prefix="torchcrux-") as name:
            elsewhere = replace(self.output, folder=Path(name))
            elsewhere.lay(self.oracle, draft, answer.text)
            runs = elsewhere.fresh(draft, min(FRESH_RUNS, len(os.sched_getaffinity(0))))
        return all(difference(answer.failure, run) is None for run in runs)
