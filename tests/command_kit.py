"""The command line, in a process of its own or in that of the tests."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from torchcrux.case import Case
from torchcrux.cli import main
from torchcrux.run import Pool

FEWER = """
import torchcrux.catching
import torchcrux.conclusion
import torchcrux.pools
from torchcrux.cli import main

torchcrux.catching.MORE_RUNS = 1
torchcrux.conclusion.FRESH_RUNS = torchcrux.pools.FRESH_RUNS = 1
main(prog_name="torchcrux")
"""


def command(*args, as_typed=False):
    """What to start. Unless it is `as_typed`, one fresh interpreter verifies a repro, and a script
    that passes is run once more, so that a test takes less time."""
    start = ("-m", "torchcrux") if as_typed else ("-c", FEWER)
    return [sys.executable, *start, *args]


@dataclass
class Done:
    """What the command itself has printed; what a script prints goes where the tests print."""

    returncode: int
    stdout: str
    stderr: str


@dataclass
class Opened:
    """In place of what a command starts beside the script: a pool that is there."""

    fitting: Callable[[Case], Pool | None]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def watch(self, standby: Path) -> None:
        pass

    def failed(self, case: Case | None) -> None:
        pass

    def ahead(self, case: Case) -> None:
        return None


def run_here(folder, args, pool_for):
    """As `command` in `folder`, without a process for it and a server of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("torchcrux.catching.MORE_RUNS", 1)
        patch.setattr("torchcrux.conclusion.FRESH_RUNS", 1)
        patch.setattr("torchcrux.command.Early", lambda jobs, text="": Opened(pool_for))
        result = CliRunner().invoke(main, args, prog_name="torchcrux")
    return Done(result.exit_code, result.stdout, result.stderr)
