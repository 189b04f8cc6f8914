"""What a person sees: progress while it runs, the repro and where it lies at the end.

Everything goes to stderr, so that the standard output of the user's script stays its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.syntax import Syntax
from rich.table import Table

from torchcrux.explain.note import passing
from torchcrux.passes.base import Pass
from torchcrux.report.result import Result

_TOLD = 4


class Terminal:
    def __init__(self, *, quiet: bool = False, verbose: bool = False) -> None:
        self.console = Console(stderr=True, highlight=False)
        self.quiet, self.verbose = quiet, verbose
        self._status: Status | None = None

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.pause()

    def pause(self) -> None:
        """Leave the screen to somebody else."""
        if self._status is not None:
            self._status.stop()
            self._status = None

    def say(self, text: str) -> None:
        if not self.quiet:
            self.console.print(f"[bold]torchcrux[/bold] {escape(text)}", soft_wrap=True)

    def progress(self, text: str) -> None:
        """One step of the work: a line that replaces itself on a terminal."""
        if self.quiet:
            return
        if self.verbose or not self.console.is_terminal:
            if self.verbose:
                self.say(text)
            return
        if self._status is None:
            self._status = self.console.status("")
            self._status.start()
        self._status.update(f"torchcrux {escape(text)}")

    def error(self, text: str) -> None:
        self.pause()
        self.console.print(f"[bold red]torchcrux[/bold red] {escape(text)}", soft_wrap=True)

    def result(self, result: Result) -> None:
        self.pause()
        if result.text:
            self.console.rule(style="dim")
            self.console.print(
                Syntax(result.text.rstrip("\n"), "python", background_color="default")
                if self.console.is_terminal
                else escape(result.text.rstrip("\n")),
                soft_wrap=True,
            )
            self.console.rule(style="dim")
        for line in summary(result):
            self.console.print(escape(line), soft_wrap=True)


def summary(result: Result) -> list[str]:
    """The result in a few lines."""
    lines = []
    headline = {
        "reduced": "Reduced.",
        "stopped_early": "Stopped early, with the best so far.",
        "no_failure": "Nothing failed.",
        "not_a_bug": "Not a failure of the compiler.",
        "not_reproduced": "No verified repro.",
    }[result.status]
    lines.append(f"{headline} {result.message}".strip())
    if result.failure is not None and result.status != "not_a_bug":
        message = " ".join(result.failure.message.split())
        kind = result.failure.kind.value.replace("_", " ")
        lines.append(f"Failure: {kind}, {result.failure.exception}: {message[:160]}")
    if result.frequency:
        lines.append(f"Flaky: it failed {result.frequency} times; the repro tries more often.")
    if result.operations is not None:
        lines.append(
            f"Operations: {result.operations.captured} captured, {result.operations.final} left;"
            f" {result.lines} lines; {result.queries} questions in {result.seconds:.1f} s;"
            f" verified {result.verified_runs} of 3 times"
        )
    if result.verified_runs:
        lines.append(f"Layer: {result.layer}")
        lines += [f"Left out: {result.omission}"] * bool(result.omission)
        files = ", ".join(result.named_files)
        lines += [f"Needs files of this machine, or what lies beside: {files}"] * bool(files)
        changes = passing(result.necessary)[:_TOLD]
        lines += [f"Passes with: {'; '.join(changes)}"] * bool(changes)
        lines += [f"Workaround: {change}" for change in result.workarounds[:1]]
    origins = {
        f"From: {origin.file}:{origin.line}: {origin.code}"
        + (f"  (module {origin.module})" if origin.module else ""): None
        for _, origin in result.origin
    }
    lines += [*origins][:_TOLD]
    if result.finds:
        count = len(result.finds)
        lines.append(f"Met on the way: {count} other failure{'s' * (count > 1)}, see finds/")
    lines += [f"Cannot be written yet, cut out: {obstacle}" for obstacle in result.obstacles]
    if result.repro is not None:
        lines.append(f"Repro: {result.repro}")
    return lines


def passes_table(passes: Sequence[Pass]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("pass", "what it does", "example"):
        table.add_column(heading)
    for one in passes:
        table.add_row(one.name, one.summary, escape(one.example))
    return table
