"""The last steps: where the smallest script fails, what makes it pass, and that it fails in fresh
interpreters. The last two go on beside each other, and what is only asked gives way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial

from torchcrux.certificate import Certificate
from torchcrux.explain.explanation import Explanation, Layers, explanation, layers
from torchcrux.oracle.answer import Answer
from torchcrux.oracle.cost import bound_of
from torchcrux.oracle.failure import Kind
from torchcrux.oracle.oracle import Oracle
from torchcrux.oracle.verify import FRESH_RUNS, Fresh, difference
from torchcrux.output import Output
from torchcrux.passes import Draft
from torchcrux.program.ir import Program
from torchcrux.reduction import Reducer
from torchcrux.report.result import Result, Sizes, origins
from torchcrux.run import Pool
from torchcrux.trim import trimmed

MOST_FRESH_RUNS = 12


@dataclass(frozen=True, slots=True)
class Conclusion:
    """`answer` is that of `best`, whose script is `text`; `left_out` is as in `Result`. `wrong` is
    what a fresh interpreter does instead of failing, empty if nothing; `verified` are those that
    fail in the same way. The last one ended at `ended` seconds of `time.monotonic`."""

    best: Draft
    answer: Answer
    lower: Layers
    proof: Certificate
    explained: Explanation
    left_out: int
    text: str
    printed: str
    verified: int
    ended: float
    wrong: str

    def told(self, base: Result, captured: Program) -> Result:
        """`base` with what is known of the script, which comes from `captured`."""
        program = self.best.program
        return replace(
            base,
            failure=self.answer.failure,
            operations=Sizes(captured.operations, program.operations),
            elements=Sizes(captured.elements, program.elements),
            lines=len(self.text.splitlines()),
            left_out=self.left_out,
            text=self.text,
            printed=self.printed,
            program=program,
            verified_runs=self.verified,
            layer=self.lower.name,
            layers=[(name, verdict.value) for name, verdict in self.lower.verdicts],
            necessary=self.proof.told(self.explained.near),
            workarounds=self.explained.workarounds,
            origin=origins(program),
        )


def conclude(
    oracle: Oracle,
    output: Output,
    reducer: Reducer,
    *,
    explain: bool,
    progress: Callable[[str], None],
) -> Conclusion:
    """Without `explain` the script is verified as it is."""
    judged, answer = reducer.best, reducer.best_answer
    assert judged is not None and answer is not None and answer.failure is not None
    lower = Layers(judged.context.backend.name, judged, answer)
    reducer.deadline = None  # the search is over
    left_out = 0
    if explain:
        progress("layers: where it fails first")
        lower = layers(oracle, judged, answer)
        if lower.draft != judged:
            judged, answer = lower.draft, lower.answer
            reducer.certify(judged)
        progress("trim: code that is never executed")
        whole, (judged, answer) = answer.text, trimmed(oracle, reducer, judged, answer)
        left_out = whole.count("\n") - answer.text.count("\n")
    proof, explained = reducer.proof or Certificate(judged), Explanation()
    assert answer.failure is not None
    progress("verify: three fresh interpreters; explain: what makes it pass")
    with ExitStack() as stack:
        fresh, best = _verifying(stack, oracle, output, judged, answer)
        if oracle.expected.kind is Kind.HANG:
            fresh.results()  # its time must not be taken by what is asked meanwhile
        stack.enter_context(_yielding(oracle.pool))
        if explain:
            if bound_of(oracle.expected) is None:  # near a bound all may pass
                larger = proof.larger(partial(oracle.runs, base=judged))
                explained = explanation(oracle, judged, lower, larger, proof.inputs_of(larger))
            proof = proof.with_larger(explained.larger)
            output.near = [*dict.fromkeys([*proof.telling(), *explained.near])]
            output.write(oracle, best, answer)  # the same, but for comments
        runs = fresh.results()
    assert fresh.ended is not None
    differences = [difference(answer.failure, run) for run in runs]
    return Conclusion(
        best=best,
        answer=answer,
        lower=lower,
        proof=proof,
        explained=explained,
        left_out=left_out,
        text=output.text(),
        printed=runs[0].stderr,
        verified=sum(one is None for one in differences),
        ended=fresh.ended,
        wrong=_wrong(differences, often=oracle.votes > 1),
    )


@contextmanager
def _yielding(pool: Pool) -> Iterator[None]:
    pool.yields = True
    try:
        yield
    finally:
        pool.yields = False


def _verifying(
    stack: ExitStack, oracle: Oracle, output: Output, judged: Draft, answer: Answer
) -> tuple[Fresh, Draft]:
    """Fresh interpreters that run the script, and its draft. They know whether an environment
    variable is needed; a single one mostly is, so that is asked beside them."""

    def started(draft: Draft) -> Fresh:
        output.write(oracle, draft, answer)
        return stack.enter_context(output.started(draft, _count(oracle)))

    single = len(judged.context.environment) == 1 and oracle.expected.kind is not Kind.HANG
    fresh = started(judged) if single else None
    best = output.with_needed_variables(oracle, judged, answer)
    return (fresh if fresh is not None and best == judged else started(best)), best


def _count(oracle: Oracle) -> int:
    return min(oracle.votes, MOST_FRESH_RUNS) if oracle.votes > 1 else FRESH_RUNS


def _wrong(differences: Sequence[str | None], *, often: bool) -> str:
    """Of what comes only `often`, one time is enough."""
    if often and None in differences:
        return ""
    return next((one for one in differences if one is not None), "")
