"""One reduction from a case on disk to verified files beside it."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from torchcrux.case import Case
from torchcrux.conclusion import conclude
from torchcrux.confirmation import Confirmation
from torchcrux.core.journal import Journal
from torchcrux.first_cut import NotReproduced
from torchcrux.oracle.answer import Flaky
from torchcrux.oracle.failure import Kind, Stage
from torchcrux.oracle.flaky import Frequencies
from torchcrux.oracle.interpreters import Ahead
from torchcrux.oracle.judge import Verdict
from torchcrux.oracle.oracle import REPEATS, Oracle
from torchcrux.oracle.retrace import has_transforms, retraced
from torchcrux.oracle.steadiness import unsteady
from torchcrux.oracle.values import EagerFails, Values, ValuesLost
from torchcrux.output import Output
from torchcrux.passes import ALL, Draft, Pass
from torchcrux.pools import open_pool, prepare
from torchcrux.program.ir import Program
from torchcrux.reduction import Reducer, Stopped
from torchcrux.report.html import with_html
from torchcrux.report.issue import with_issue
from torchcrux.report.result import Result, write, write_atomically
from torchcrux.run import Pool
from torchcrux.run.limits import default_jobs

BROKEN_LIMIT = 5
FIRST_TIMEOUT = 300.0
"""An eager run of the whole captured graph may take so long, also if candidates may not."""
HANG_SECONDS = 30.0
"""A script that hangs ends itself after so long, at most: a fresh interpreter may take ten seconds
to compile what is right."""


@dataclass(frozen=True)
class Options:
    """What a user can choose. Times are in seconds."""

    jobs: int | None = None
    budget: float | None = None
    timeout: float | None = None
    match: str | None = None
    passes: Sequence[Pass] = ALL
    progress: Callable[[str], None] = lambda text: None


def reduce_case(
    case: Case,
    out: Path,
    options: Options,
    pool: Pool | None = None,
    ahead: Ahead | None = None,
    *,
    unkept: bool = False,
) -> Result:
    """Reduce `case` and write repro.py and result.json into `out`. A `pool` of the caller's is
    left open. Interpreters that have been started `ahead` verify. With `unkept` a case that lacks
    the values of its inputs is given up where they seem to be needed.

    Never raises for what a script or a compiler may do; PoolError and JournalError, which are
    about this machine, pass through.
    """
    started = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    variables = bool(_environment(case))
    run = partial(_attempt, ahead=ahead, unkept=unkept and not case.stored)
    bare = _without_environment(case)
    result = run(bare, out, options, pool, started, glance=variables)
    if result.program is None and result.status == "not_reproduced" and variables:
        options.progress("once more, with the environment variables that the script has set")
        result = run(case, out, options, None, started)
    result = with_html(with_issue(result))
    write(result)
    return result


def _attempt(
    case: Case,
    out: Path,
    options: Options,
    pool: Pool | None,
    started: float,
    *,
    ahead: Ahead | None = None,
    glance: bool = False,
    unkept: bool = False,
) -> Result:
    with tempfile.TemporaryDirectory(prefix="torchcrux-") as name:
        scratch = Path(name)
        with nullcontext(pool) if pool else open_pool(options.jobs, case, scratch) as used:
            prepare(used, case)
            output = Output(out, used, ahead)
            return Session(case, output, options, used, scratch, started, glance, unkept).run()


def _environment(case: Case) -> tuple[tuple[str, str], ...]:
    return case.context.environment if case.context is not None else ()


def _without_environment(case: Case) -> Case:
    if case.context is None:
        return case
    return replace(case, context=replace(case.context, environment=()))


@dataclass
class Session:
    case: Case
    output: Output
    options: Options
    pool: Pool
    scratch: Path
    started: float
    glance: bool = False
    """Ask only about what the failure names, or some windows: whether it is to be had is found out
    cheaply."""
    unkept: bool = False
    """The values of the inputs can be had; whether they are needed is found out cheaply."""

    def run(self) -> Result:
        if self.case.program is None or self.case.context is None:
            raise ValueError("a failure without a graph cannot be reduced")
        captured = Draft(self.case.program, self.case.context)
        base = Result(
            status="not_reproduced",
            folder=self.output.folder,
            failure=self.case.failure,
            layer=captured.context.backend.name,
            jobs=self.pool.jobs,
        )
        with Journal(self.case.folder / "journal.jsonl") as journal:
            values = Values(
                self.pool,
                captured,
                self.case.inputs,
                self.case.stored,
                self.scratch,
                "\n".join(f"{name}: {text}" for name, text in self.case.failure.exceptions),
                self.options.timeout and max(self.options.timeout, FIRST_TIMEOUT),
            )
            try:
                draft = values.facts()
            except EagerFails as error:
                return replace(
                    base,
                    status="not_a_bug",
                    message=f"The captured graph fails without a compiler as well: {error}",
                )
            except ValuesLost as error:
                return replace(base, message=f"{error}. {self._kept()}")
            if self.options.jobs is None:
                fitting = default_jobs(values.peak, times=_times(self.case))
                self.pool.jobs = min(self.pool.jobs, fitting)
            base = replace(base, obstacles=_obstacles(values.draft.program), jobs=self.pool.jobs)
            values.draft = draft
            shaky = unsteady(values) if self.case.failure.kind is Kind.ACCURACY else None
            if shaky is not None:
                return replace(base, status="not_a_bug", message=str(shaky))
            result = self._reduce(base, draft, captured, values, journal)
            crashed = self.case.failure.kind is Kind.CRASH
            refused = values.refused if result.status == "not_reproduced" else ""
            if crashed and refused and not self.unkept:
                # The compiled program should raise what eager raises, instead of dying.
                values.draft, values.tolerant = values.as_captured(captured), True
                base = replace(base, obstacles=_obstacles(captured.program))
                return self._reduce(base, values.draft, captured, values, journal, refused)
            whole = result.program is not None and has_transforms(result.program)
            if whole or not (result.text or self.glance or self.unkept):
                return self._retraced(base, captured, values, journal, result)
            return result

    def _retraced(
        self, base: Result, captured: Draft, values: Values, journal: Journal, first: Result
    ) -> Result:
        """What comes of the operators that the captured graph comes down to; `first`, what came of
        the graph itself, if that is no less."""
        if self.case.failure.stage is Stage.BACKWARD or self.case.failure.kind is Kind.HANG:
            return first
        draft = retraced(values)
        if draft is None:
            return first
        self.options.progress("once more, as the operators that the graph comes down to")
        held = self.output.held() if first.text else {}
        values.begin_anew(draft)
        try:
            values.draft = draft = values.facts()
        except (EagerFails, ValuesLost):
            return first
        result = self._reduce(base, draft, captured, values, journal)
        if result.verified_runs and (not first.text or result.lines < first.lines):
            return result
        self.output.put_back(held)
        return first

    def _reduce(
        self,
        base: Result,
        draft: Draft,
        captured: Draft,
        values: Values,
        journal: Journal,
        eager: str = "",
    ) -> Result:
        self.output.near = ()
        hang = self._hang_seconds()
        timeout = self.options.timeout or FIRST_TIMEOUT
        oracle = Oracle(
            pool=self.pool,
            journal=journal,
            values=values,
            expected=self.case.failure,
            names=frozenset(node.name for node in captured.program.nodes),
            timeout=timeout if hang is None else max(timeout, 4 * hang),
            match=self.options.match,
            hang=hang,
            eager=eager,
            repeats=REPEATS if hang is None else 0,
        )
        frequency = Frequencies(oracle, journal)
        frequency.resume()
        oracle.on_other = self.output.find
        reducer, status, message = self._search(oracle, draft, frequency)
        result = self._ended(base, status, message, oracle, reducer, captured)
        once = oracle.times == oracle.votes == 1 and oracle.hang is None
        if _is_judged_only(result) and once and reducer.best is not None:
            if not frequency.measure(reducer.best):
                self.options.progress("once more, asking fresh interpreters as well")
                oracle.confirm = Confirmation(oracle, self.output, journal)
            reducer, status, message = self._search(oracle, draft, frequency)
            result = self._ended(base, status, message, oracle, reducer, captured)
        return replace(result, frequency=str(frequency.found or ""))

    def _search(
        self, oracle: Oracle, draft: Draft, frequency: Frequencies
    ) -> tuple[Reducer, str, str]:
        """A reducer at its end, the status, and a message."""
        while True:
            reducer = self._reducer(oracle, draft)
            try:
                final = reducer.run()
                if not self._is_patient(oracle, final):
                    continue
                return reducer, "reduced", ""
            except Flaky as reason:
                self.options.progress("the failure does not come always: measuring how often")
                frequency.measure(reason.draft, reason.seen)
            except NotReproduced as reason:
                once = oracle.times == oracle.votes == 1 and oracle.hang is None
                if not self.glance and once and (self.case.stored or not oracle.question.deadly):
                    self.options.progress("the failure did not come: trying more often")
                    if frequency.measure(reducer.most_faithful()):
                        continue
                tried = f", in {frequency.asked} tries" if frequency.asked else ""
                return reducer, "not_reproduced", f"{reason}{tried}. {self._kept()}"
            except EagerFails as reason:
                return reducer, "not_reproduced", f"eager fails: {reason}"
            except ValuesLost as reason:
                return reducer, "not_reproduced", f"{reason}. {self._kept()}"
            except (Stopped, KeyboardInterrupt) as reason:
                return reducer, "stopped_early", str(reason) or "interrupted"

    def _is_patient(self, oracle: Oracle, final: Draft) -> bool:
        """Whether what hangs also does so with all the time that the repro gives it. If not, what
        was taken for hanging is asked again."""
        if oracle.hang is None or oracle.patient:
            return True
        self.options.progress(f"waiting {oracle.hang:g} s for what is left")
        oracle.patient = True
        (answer,) = oracle.ask([final])
        return answer.verdict is Verdict.SAME

    def _reducer(self, oracle: Oracle, draft: Draft) -> Reducer:
        budget = self.options.budget
        return Reducer(
            oracle,
            draft,
            on_best=partial(self.output.write, oracle),
            passes=self.options.passes,
            deadline=None if budget is None else self.started + budget,
            only_parts=self.glance,
            unkept=self.unkept,
            progress=self.options.progress,
        )

    def _hang_seconds(self) -> float | None:
        if self.case.failure.kind is not Kind.HANG:
            return None
        seconds = float((self.case.failure.metric or {}).get("seconds", HANG_SECONDS))
        return min(HANG_SECONDS, seconds, self.options.timeout or HANG_SECONDS)

    def _ended(
        self,
        base: Result,
        status: str,
        message: str,
        oracle: Oracle,
        reducer: Reducer,
        captured: Draft,
    ) -> Result:
        final = None if status == "not_reproduced" else reducer.best
        base = replace(
            base,
            queries=oracle.queries,
            finds=tuple(self.output.finds.values()),
            broken=len(oracle.broken),
            seconds=time.monotonic() - self.started,
        )
        if len(oracle.broken) > BROKEN_LIMIT:
            message = _on_our_side(oracle)
            status = "not_reproduced"
        if final is None or reducer.best_answer is None:
            if status == "stopped_early":
                message += " before anything could be verified. " + self._kept()
                status = "not_reproduced"
            return replace(base, status=status, message=message)
        return self._finish(base, status, message, oracle, reducer, captured)

    def _finish(
        self,
        base: Result,
        status: str,
        message: str,
        oracle: Oracle,
        reducer: Reducer,
        captured: Draft,
    ) -> Result:
        found = conclude(
            oracle,
            self.output,
            reducer,
            explain=status == "reduced" and not self._is_late(),
            progress=self.options.progress,
        )
        assert found.answer.failure is not None
        final = json.dumps(found.answer.failure.to_json(), indent=1)
        write_atomically(self.case.folder / "final.json", final)
        if found.wrong:
            status = "not_reproduced"
            message = (
                f"In a fresh interpreter repro.py behaves differently: {found.wrong}."
                f" {self._kept()}"
            )
        if oracle.broken and status == "reduced":
            message = f"It is not shown to be minimal: {_on_our_side(oracle)}"
        return replace(
            found.told(base, captured.program),
            status=status,
            message=message,
            seconds=time.monotonic() - self.started,
            search_seconds=base.seconds,
            verified_seconds=found.ended - self.started if not found.wrong else None,
            queries=oracle.queries,
            minimal=reducer.minimal and status == "reduced" and not oracle.broken,
            steps=tuple(self.output.steps),
            files=self.output.files,
        )

    def _is_late(self) -> bool:
        budget = self.options.budget
        return budget is not None and time.monotonic() > self.started + budget

    def _kept(self) -> str:
        return " ".join([f"What was caught lies in {self.case.folder}.", *self.case.notes])


def _times(case: Case) -> int:
    """How often a candidate may hold what an eager run of the whole graph does: its gradients are
    as much again; wrong numbers are told by two runs, and by one in double precision."""
    backward = case.context is not None and case.context.backward
    return (4 if case.failure.kind is Kind.ACCURACY else 1) + backward


def _on_our_side(oracle: Oracle) -> str:
    reasons = sorted({answer.reason.strip().splitlines()[-1] for answer in oracle.broken})
    return f"{len(oracle.broken)} questions failed on our side: {'; '.join(reasons)}"


def _is_judged_only(result: Result) -> bool:
    """Whether it failed when it was judged, and not in a fresh interpreter."""
    return result.status == "not_reproduced" and bool(result.text)


def _obstacles(program: Program) -> list[str]:
    found = []
    for node in program.calls:
        if node.obstacle is not None:
            where = f" ({node.origin.file}:{node.origin.line})" if node.origin else ""
            found.append(f"{node.name}{where}: {node.obstacle}")
    return found
