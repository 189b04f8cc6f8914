"""The public functions that reduce what fails in the running process."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from torchcrux.capturing.api import NothingCaught, capture
from torchcrux.capturing.records import Records
from torchcrux.capturing.watching import Watching
from torchcrux.case import Case
from torchcrux.output import new_folder
from torchcrux.report.result import Result
from torchcrux.session import Options, reduce_case

__all__ = ["NothingCaught", "Watch", "capture", "reduce", "watch"]


def reduce(
    case: Case,
    out: str | Path | None = None,
    *,
    jobs: int | None = None,
    budget: float | None = None,
    timeout: float | None = None,
) -> Result:
    """The smallest script that fails as `case` does: what the command `torchcrux reduce` does.

    `out` is the folder for the results, by default a new one below ``torchcrux-out``. Times are in
    seconds. Look at `Result.status`, `Result.repro` and `Result.message`. Raises ValueError for a
    failure that arose before there was a graph, and FileExistsError if `out` holds something else.
    """
    if case.program is None:
        raise ValueError("the failure arose before there was a graph; there is nothing to reduce")
    folder = new_folder(Path("torchcrux-out"), "case") if out is None else Path(out)
    if folder.resolve() != case.folder.resolve().parent:
        if folder.exists() and any(folder.iterdir()):
            raise FileExistsError(f"{folder} is not empty")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copytree(case.folder, folder / "case")
        case = Case.load(folder / "case")
    return reduce_case(case, folder, Options(jobs=jobs, budget=budget, timeout=timeout))


class Watch:
    """What `watch` found: `case` and `result` are None if nothing failed."""

    case: Case | None = None
    result: Result | None = None


@contextmanager
def observed(folder: Path, check: str) -> Iterator[Watch]:
    """Keep in `folder` what fails in a compiler inside the block; exceptions go on untouched.

    The accuracy check ends the block at the first graph whose numbers are wrong.
    """
    found = Watch()
    records = Records(folder)
    watching = Watching(records, check)
    torch.compiler.reset()
    watching.install()
    name = ""
    try:
        yield found
    except BaseException as error:
        name = watching.case_of(error)
        if not watching.ended_by_us(error):
            raise
    finally:
        watching.remove()
        certain = [one for one in records.status.cases if one not in records.status.maybe]
        name = name or next(iter(certain), "")
        found.case = records.failures.get(name)


@contextmanager
def watch(out: str | Path | None = None, *, check: str = "error") -> Iterator[Watch]:
    """Catch and reduce the first failure of a compiler inside the block.

    `check` is "error" or "accuracy" (each compiled graph is compared with eager, and the block
    ends at the first that differs). An exception goes on as it would without us, after the
    reduction.
    """
    with tempfile.TemporaryDirectory(prefix="torchcrux-") as name:
        outcome: Watch | None = None
        try:
            with observed(Path(name) / "cases", check) as outcome:
                yield outcome
        finally:
            if outcome is not None and outcome.case is not None and outcome.case.program:
                outcome.result = reduce(outcome.case, out)
                outcome.case = Case.load(Path(outcome.result.folder or "") / "case")
