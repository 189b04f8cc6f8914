"""The folder that a user looks into while a case is reduced: always the best script so far."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from torchcrux.explain.note import conditions, note
from torchcrux.oracle.answer import Answer
from torchcrux.oracle.failure import Failure
from torchcrux.oracle.interpreters import Ahead
from torchcrux.oracle.judge import Verdict
from torchcrux.oracle.message import normalised
from torchcrux.oracle.oracle import Oracle
from torchcrux.oracle.verify import Fresh, Run, difference
from torchcrux.passes import Draft
from torchcrux.pools import constants, imports
from torchcrux.report.result import Find, write_atomically
from torchcrux.run import Pool, PoolError, Status, Task

Variable = tuple[str, str]
"""Of the environment: its name and its value."""

REPRO, DATA = "repro.py", "data.safetensors"
SAVE_DATA = "torchcrux.oracle.data:save_data"
FRESH_TIMEOUT = 300.0


@dataclass
class Output:
    """`near` are the changes that a script names as making it pass; `steps` as in `Result`. `ahead`
    are interpreters for such as only imports what they do."""

    folder: Path
    pool: Pool
    ahead: Ahead | None = None
    near: Sequence[str] = ()
    finds: dict[str, Find] = field(default_factory=dict)
    steps: list[tuple[int, int]] = field(default_factory=list)

    @property
    def files(self) -> dict[str, str]:
        """What lies there of a script, by what it is."""
        found = {"repro": REPRO, "data": DATA}
        return {key: name for key, name in found.items() if (self.folder / name).exists()}

    def text(self) -> str:
        return (self.folder / REPRO).read_text(encoding="utf-8")

    def held(self) -> dict[str, bytes]:
        """A copy of the script and its data, for `put_back`."""
        return {name: (self.folder / name).read_bytes() for name in self.files.values()}

    def put_back(self, held: dict[str, bytes]) -> None:
        for name in (REPRO, DATA):
            (self.folder / name).unlink(missing_ok=True)
        for name, content in held.items():
            (self.folder / name).write_bytes(content)

    def write(self, oracle: Oracle, draft: Draft, answer: Answer) -> None:
        """Put the script, and its data if it has some, where the user looks."""
        below = "" if answer.failure is None else note(answer.failure)
        below += conditions(self.near)
        self.lay(oracle, draft, oracle.text(draft, below))
        self.steps.append((oracle.queries, draft.program.operations))

    def lay(self, oracle: Oracle, draft: Draft, text: str) -> None:
        """Write `text`, the script of `draft`, and the data that it loads."""
        sources = oracle.values.sources(draft.program)
        data = self.folder / DATA
        if sources:
            payload = {"folder": str(self.folder.resolve()), "data": sources}
            (outcome,) = self.pool.run([Task(SAVE_DATA, payload)])
            if outcome.status is not Status.DONE:
                raise PoolError(f"the data of the repro could not be written: {outcome.error}")
        write_atomically(self.folder / REPRO, text)
        if not sources and data.exists():
            data.unlink()

    def find(self, answer: Answer) -> None:
        """Keep one script of each other failure met on the way."""
        failure = answer.failure
        if answer.verdict is not Verdict.DIFFERENT or failure is None:
            return
        key = f"{failure.exception}: {' '.join(normalised(failure.message)[:20])}"
        if key in self.finds:
            return
        folder = self.folder / "finds"
        folder.mkdir(exist_ok=True)
        script = f"finds/{len(self.finds) + 1}.py"
        write_atomically(self.folder / script, answer.text)
        self.finds[key] = Find(failure.exception, failure.message, script)

    def started(self, draft: Draft, times: int) -> Fresh:
        """Have repro.py, the script of `draft`, run in fresh interpreters, until the context
        ends."""
        ahead = self.ahead if self.ahead is not None and imports(draft, self.ahead) else None
        return Fresh(self.folder / REPRO, times, FRESH_TIMEOUT, constants(self.pool), ahead)

    def fresh(self, draft: Draft, times: int) -> list[Run]:
        """Run repro.py, the script of `draft`, to its end, in fresh interpreters."""
        with self.started(draft, times) as fresh:
            return fresh.results()

    def with_needed_variables(self, oracle: Oracle, best: Draft, answer: Answer) -> Draft:
        """`best` without the environment variables that a fresh interpreter does not need.

        The children that judge candidates have them all, so only a fresh one can tell.
        """
        assert answer.failure is not None
        untried = best.context.environment
        while spare := self._spare(oracle, best, answer.failure, untried):
            best, untried = _without(best, spare[0]), spare[1:]
        return best

    def _spare(
        self, oracle: Oracle, best: Draft, failure: Failure, variables: Sequence[Variable]
    ) -> tuple[Variable, ...]:
        """Those without which `best` fails as well: fresh interpreters, beside each other, tell."""
        with tempfile.TemporaryDirectory(prefix="torchcrux-") as name, ExitStack() as stack:
            started = []
            for i, variable in enumerate(variables):
                beside = replace(self, folder=Path(name, str(i)))
                beside.folder.mkdir()
                draft = _without(best, variable)
                beside.lay(oracle, draft, oracle.text(draft))
                started.append(stack.enter_context(beside.started(draft, 1)))
            runs = [fresh.results()[0] for fresh in started]
        told = zip(variables, runs, strict=True)
        return tuple(one for one, run in told if difference(failure, run) is None)


def _without(draft: Draft, variable: Variable) -> Draft:
    left = tuple(one for one in draft.context.environment if one != variable)
    return replace(draft, context=replace(draft.context, environment=left))


def new_folder(parent: Path, name: str) -> Path:
    """The first free ``<parent>/<name>-<n>``, created."""
    parent.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        folder = parent / f"{name}-{number}"
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            number += 1
