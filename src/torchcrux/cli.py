"""The command line: parse, call, print."""

from __future__ import annotations

import errno
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from torchcrux.passes import ALL, Pass
from torchcrux.report import terminal
from torchcrux.report.result import Result

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

CHECKS = ("auto", "error", "accuracy", "crash", "hang", "slow", "memory")
_NAMES = [one.name for one in ALL]

USAGE_ERROR = 2
NO_REPRO = 3


def _passes(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> Any:
    names = [name for item in value for name in item.split(",")]
    for name in names:
        if name not in _NAMES:
            raise click.BadParameter(f"{name!r} is not a pass; `torchcrux passes` lists them")
    return names


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    for decorator in reversed(
        (
            click.option("--out", type=click.Path(path_type=Path), help="Where the case goes."),
            click.option(
                "--check",
                type=click.Choice(CHECKS),
                default="auto",
                show_default=True,
                help="What counts as failing; auto takes what happens by itself.",
            ),
            click.option(
                "--bound",
                type=click.FloatRange(0, min_open=True),
                help="Seconds, or MiB beyond eager's: what is too much.",
            ),
            click.option("--rtol", type=click.FloatRange(0), help="Relative tolerance."),
            click.option("--atol", type=click.FloatRange(0), help="Absolute tolerance."),
            click.option("--jobs", type=click.IntRange(1), help="Candidates judged at once."),
            click.option("--budget", type=click.FloatRange(0), help="Stop after so many seconds."),
            click.option("--timeout", type=click.FloatRange(0), help="Seconds for one candidate."),
            click.option("--match", help="A regular expression the failure's message must match."),
            click.option(
                "--only", multiple=True, callback=_passes, help="Only these passes.", metavar="PASS"
            ),
            click.option(
                "--skip", multiple=True, callback=_passes, help="Not these passes.", metavar="PASS"
            ),
            click.option("--quiet", is_flag=True, help="Print the result only."),
            click.option("--verbose", is_flag=True, help="Print each step."),
        )
    ):
        command = decorator(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="torchcrux")
def main() -> None:
    """Any torch.compile failure, boiled down to the ten lines that matter."""


@main.command(context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False})
@_options
@click.option("-m", "module", is_flag=True, help="SCRIPT is the name of a module.")
@click.argument("script")
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def run(script: str, args: tuple[str, ...], module: bool, **chosen: Any) -> None:
    """Run a Python SCRIPT; when torch.compile fails in it, reduce the failure."""
    from torchcrux.command import run_command

    _end(lambda ui: run_command(script, args, module, _chosen(chosen, ui), ui), chosen)


@main.command()
@_options
@click.argument("path", type=click.Path(exists=True, path_type=Path))
def reduce(path: Path, **chosen: Any) -> None:
    """Reduce what was captured earlier: the folder of a case, or of a run."""
    from torchcrux.command import reduce_command

    _end(lambda ui: reduce_command(path, _chosen(chosen, ui), ui), chosen)


@main.command()
@click.argument("repro", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--timeout", type=click.FloatRange(0), default=600.0, help="Seconds for the run.")
def verify(repro: Path, timeout: float) -> None:
    """Run REPRO in a fresh interpreter: does it still fail in the same way?"""
    from torchcrux.command import verify_command

    status, message = verify_command(repro, timeout)
    click.echo(message)
    sys.exit(status)


@main.command("passes")
def list_passes() -> None:
    """List the passes: name, one line, example."""
    Console().print(terminal.passes_table(ALL))


def _chosen(chosen: dict[str, Any], ui: terminal.Terminal) -> Any:
    from torchcrux.command import Choices, CommandError
    from torchcrux.session import Options

    passes: list[Pass] = [
        one
        for one in ALL
        if (not chosen["only"] or one.name in chosen["only"]) and one.name not in chosen["skip"]
    ]
    options = Options(
        jobs=chosen["jobs"],
        budget=chosen["budget"],
        timeout=chosen["timeout"],
        match=chosen["match"],
        passes=passes,
        progress=ui.progress,
    )
    rtol, atol = chosen["rtol"], chosen["atol"]
    if (rtol is None) != (atol is None):
        raise CommandError("--rtol and --atol go together; give both.")
    return Choices(
        out=chosen["out"],
        check=chosen["check"],
        options=options,
        bound=chosen["bound"],
        tolerance=None if rtol is None else (rtol, atol),
    )


def _no_room(error: Exception) -> str:
    """What to tell the user of a disk that takes nothing more; empty if it is not that."""
    if not isinstance(error, OSError) or error.errno not in _FULL:
        return ""
    return (
        f"{error.filename or 'A file'} could not be written: {error.strerror}. Make room, and run"
        " the same command again: what was found out so far is kept."
    )


def _our_fault(error: Exception) -> str:
    """Keep the traceback of an error that nobody foresaw; what to tell the user of it."""
    file, path = tempfile.mkstemp(prefix="torchcrux-error-", suffix=".txt")
    os.close(file)
    Path(path).write_text(traceback.format_exc(), encoding="utf-8")
    return (
        f"torchcrux itself failed: {type(error).__name__}: {error}. This is a bug of torchcrux; the"
        f" traceback is in {path}. What was caught before stays where it was written."
    )


def _end(command: Callable[[terminal.Terminal], Result], chosen: dict[str, Any]) -> None:
    from torchcrux.command import CommandError
    from torchcrux.core.journal import CaseInUse, JournalError
    from torchcrux.run import PoolError

    # What ends a batch job asks for as orderly an end as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    ui = terminal.Terminal(quiet=chosen["quiet"], verbose=chosen["verbose"])
    with ui:
        try:
            result = command(ui)
        except CommandError as error:
            ui.error(str(error))
            sys.exit(error.status)
        except (PoolError, JournalError, CaseInUse) as error:
            ui.error(str(error))
            sys.exit(NO_REPRO)
        except KeyboardInterrupt:
            ui.error("Interrupted before anything was verified.")
            sys.exit(NO_REPRO)
        except Exception as error:
            ui.error(_no_room(error) or _our_fault(error))
            sys.exit(NO_REPRO)
    ui.result(result)
    sys.exit(result.exit_status)
