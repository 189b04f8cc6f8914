"""Which environment variables a script needs: fresh interpreters tell."""

from __future__ import annotations

import pytest

from torchcrux.oracle.answer import Answer
from torchcrux.oracle.failure import Failure, Kind, Stage
from torchcrux.oracle.judge import Verdict
from torchcrux.output import Output
from torchcrux.passes.base import Draft
from torchcrux.program.context import Context
from torchcrux.program.ir import Program

FAILURE = Failure(Kind.RUNTIME_ERROR, Stage.RUN, (("RuntimeError", "it fails"),), ())


class FakeOracle:
    """Its scripts fail where `condition`, an expression, is true of the variables they set."""

    queries = 0

    def __init__(self, condition):
        self.condition = condition
        self.values = self

    def sources(self, program):
        return {}

    def text(self, draft, note=""):
        return f"has = {dict(draft.context.environment)}\nif {self.condition}:\n" + (
            "    raise RuntimeError('it fails')\n"
        )


@pytest.mark.parametrize(
    ("condition", "needed"),
    [
        ("True", ""),
        ("'B' in has", "B"),
        ("has.keys() >= {'A', 'C'}", "AC"),
        ("has.keys() & {'A', 'B'}", "B"),  # either would do: the last is kept
        ("len(has) == 3", "ABC"),
    ],
)
def test_only_needed_ones_are_kept(tmp_path, monkeypatch, condition, needed):
    monkeypatch.setattr("torchcrux.output.constants", lambda pool: None)
    oracle = FakeOracle(condition)
    best = Draft(Program((), ()), Context(environment=tuple((name, "1") for name in "ABC")))
    output = Output(tmp_path, pool=None)
    found = output.with_needed_variables(oracle, best, Answer(Verdict.SAME, "", FAILURE))
    assert [name for name, _ in found.context.environment] == list(needed)
    assert list(tmp_path.iterdir()) == []
