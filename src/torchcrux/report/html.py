"""`report.html`: all that is known of a reduced failure, in one file that needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from jinja2 import Environment, PackageLoader, StrictUndefined

from torchcrux.explain.note import note
from torchcrux.report.issue import OUTCOME, title_of
from torchcrux.report.result import Result, versions, write_atomically

_TEMPLATE = "report.html.jinja"


def with_html(result: Result) -> Result:
    """The result with its report.html written beside it, if there is a repro that was verified."""
    if result.folder is None:
        return result
    path = result.folder / "report.html"
    if not (result.text and result.failure and result.operations and result.verified_runs):
        path.unlink(missing_ok=True)
        return result
    write_atomically(path, html(result))
    return replace(result, files={**result.files, "report": path.name})


def html(result: Result) -> str:
    """The page. The result must have a failure, sizes and a text."""
    assert result.failure is not None and result.operations is not None
    environment = Environment(
        loader=PackageLoader("torchcrux.report", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    return environment.get_template(_TEMPLATE).render(
        result=result,
        title=title_of(result),
        outcome=OUTCOME.get(result.failure.kind.value, OUTCOME[""]),
        error=note(result.failure),
        points=points(result.steps, result.queries, result.operations.captured),
        versions=versions(),
    )


def points(steps: Sequence[tuple[int, int]], queries: int, captured: int) -> str:
    """A line through (questions asked, operations left) in a square of 100 by 100; empty if there
    was nothing to shrink. It stays level until the next step down."""
    if not steps or queries < 1 or captured < 2:
        return ""
    drawn = []
    level = captured
    for asked, left in [(0, captured), *steps, (queries, steps[-1][1])]:
        x = 100 * asked / queries
        drawn += [(x, level), (x, left)]
        level = left
    return " ".join(f"{x:.1f},{100 - 98 * left / captured:.1f}" for x, left in drawn)
