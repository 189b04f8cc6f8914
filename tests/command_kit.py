"""The command line in a process of its own."""

from __future__ import annotations

import sys

FEWER = """
import torchcrux.catching
import torchcrux.conclusion
from torchcrux.cli import main

torchcrux.catching.MORE_RUNS = 1
torchcrux.conclusion.FRESH_RUNS = 1
main(prog_name="torchcrux")
"""


def command(*args, as_typed=False):
    """What to start. Unless it is `as_typed`, one fresh interpreter verifies a repro, and a script
    that passes is run once more, so that a test takes less time."""
    start = ("-m", "torchcrux") if as_typed else ("-c", FEWER)
    return [sys.executable, *start, *args]
