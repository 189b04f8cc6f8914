"""What a watched process found: case folders on disk and a status file that tells of them."""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from torchcrux import case
from torchcrux.oracle.failure import Failure
from torchcrux.program.context import Context
from torchcrux.program.ir import Program

if TYPE_CHECKING:
    import torch

STATUS_FILE = "status.json"
MOST_CASES = 8  # of one process; a script that swallows failures in a loop must not fill the disk

_OWN_FOLDERS = frozenset({"TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"})
"""Inductor sets them itself, as it sets variables that begin with an underscore."""


@dataclass
class Uncaught:
    """The exception that ended the script. `case` is the record it belongs to, empty if none."""

    type: str
    message: str
    case: str = ""


@dataclass
class Status:
    """`phase` is "running" until the script's code has come to its end, then "ended". `told` is
    true once the traceback of what ended it has been shown: only Python's own end is left then.

    `cases` are folder names, in the order of the failures; `maybe` those among them that Dynamo
    answers with a fallback to eager unless the user forbade it. `broken` are tracebacks of our own
    errors. `stopped` is true if a check of ours ended the script. `slowest` is the longest that
    the compiler took for one graph, in seconds. `lost` are cases whose inputs could not be read any
    more, each with what brings them in another run (`standby.Keep`). `uncompared` are the reasons
    for which calls were not compared with eager.
    """

    phase: str = "running"
    told: bool = False
    graphs: int = 0
    uncompared: list[str] = field(default_factory=list)
    cases: list[str] = field(default_factory=list)
    maybe: list[str] = field(default_factory=list)
    dropped: int = 0
    uncaught: Uncaught | None = None
    stopped: bool = False
    slowest: float = 0.0
    lost: dict[str, str] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    @property
    def over(self) -> bool:
        """Whether a case has ended the script, and the user has been told."""
        if self.phase != "ended" or not self.cases:
            return False
        known = self.uncaught is not None and self.uncaught.case in self.cases
        return self.stopped or (known and self.told)


class Records:
    """Writes into `folder`. A forked child writes its cases there too, but never the status."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.status = Status()
        self.failures: dict[str, case.Case] = {}
        self._process = os.getpid()
        self._environment = dict(os.environ)

    def add(
        self,
        program: Program | None,
        context: Context | None,
        failure: Failure,
        tensors: Mapping[str, torch.Tensor],
        *,
        notes: tuple[str, ...] = (),
        maybe: bool = False,
        stored: Path | None = None,
    ) -> str:
        """Write a case and return the name of its folder, empty if there are too many already.
        `stored` is as in `case.write`."""
        if len(self.status.cases) >= MOST_CASES:
            self.status.dropped += 1
            return ""
        if context is not None:
            context = self.with_variables(context)
        name = f"{os.getpid()}-{len(self.status.cases):03d}"
        written = case.write(
            self.folder / name, program, context, failure, tensors, notes=notes, stored=stored
        )
        self.failures[name] = written
        self.status.cases.append(name)
        if maybe:
            self.status.maybe.append(name)
        self.save()
        return name

    def with_variables(self, context: Context) -> Context:
        """`context` with the environment variables that the script has set since it began."""
        before = self._environment
        variables = tuple(
            pair
            for pair in sorted(os.environ.items())
            if before.get(pair[0]) != pair[1]
            and pair[0] not in _OWN_FOLDERS
            and not pair[0].startswith("_")
        )
        return replace(context, environment=variables)

    def broken(self) -> None:
        """Note the exception that is being handled as an error of our own."""
        if len(self.status.broken) < MOST_CASES:
            self.status.broken.append(traceback.format_exc())
            self.save()

    def not_compared(self, reason: str) -> None:
        """Note why a call was not compared with eager."""
        known = self.status.uncompared
        if reason not in known and len(known) < MOST_CASES:
            known.append(reason)
            self.save()

    def save(self) -> None:
        if os.getpid() != self._process:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f".{STATUS_FILE}"
        partial.write_text(json.dumps(asdict(self.status)), encoding="utf-8")
        partial.replace(self.folder / STATUS_FILE)


def read_status(folder: Path) -> Status | None:
    """The status in `folder`, None if the process ended before it wrote one."""
    try:
        data = json.loads((folder / STATUS_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    uncaught = data.pop("uncaught")
    return Status(**data, uncaught=Uncaught(**uncaught) if uncaught else None)
