"""Whose fault it is that a script fails in which no graph was caught: the same script says so when
it runs with `torch.compile` doing nothing."""

from __future__ import annotations

import os
from pathlib import Path

from torchcrux.capturing.script import Caught, Ending, run_script
from torchcrux.report.result import Result


def by_itself(
    target: str, args: tuple[str, ...], module: bool, caught: Caught, folder: Path
) -> Result | None:
    """The result if the script fails without torch.compile too, else None."""
    plain = _without_compiler(target, args, module, folder)
    if plain.exception is None or caught.exception is None:
        return None
    error = plain.exception
    message = f"The script fails without torch.compile as well: {error.type}: {error.message}"
    return Result(status="not_a_bug", message=message)


def between_graphs(
    target: str, args: tuple[str, ...], module: bool, caught: Caught, folder: Path
) -> Result | None:
    """The result if the script ends well without torch.compile, else None. Dynamo makes one
    program of graphs and of the Python between them; what it gets wrong there is in no graph."""
    plain = _without_compiler(target, args, module, folder)
    if plain.ending is not Ending.NO_GRAPH or plain.status != 0:
        return None
    return Result(
        status="not_reproduced",
        message=f"{caught.message} Without torch.compile the script does not fail: what goes wrong"
        " is in what Dynamo makes of the Python code, or eager refuses what the graph computes."
        " There is no graph to reduce.",
    )


def _without_compiler(target: str, args: tuple[str, ...], module: bool, folder: Path) -> Caught:
    return run_script(
        target,
        args,
        module=module,
        check="error",
        folder=folder,
        env={**os.environ, "TORCHDYNAMO_DISABLE": "1"},
        quiet_output=True,
    )
