"""What each command does, from its arguments to a result."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from torchcrux.capturing.script import Caught, Ending
from torchcrux.capturing.standby import Keep
from torchcrux.case import Case, CaseError
from torchcrux.catching import Catcher, is_unexplained
from torchcrux.oracle.failure import Failure
from torchcrux.oracle.verify import difference, run_fresh
from torchcrux.output import new_folder
from torchcrux.pools import Early
from torchcrux.report.result import RESULT, Result, write, write_atomically
from torchcrux.report.terminal import Terminal
from torchcrux.session import Options, reduce_case

OUT = Path("torchcrux-out")
USAGE_ERROR, NO_REPRO = 2, 3


class CommandError(Exception):
    """The command cannot do its work; the message says what happened and what to do."""

    def __init__(self, message: str, status: int = USAGE_ERROR) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Choices:
    out: Path | None
    check: str
    options: Options
    bound: float | None = None
    tolerance: tuple[float, float] | None = None

    @property
    def accuracy(self) -> str:
        """The check for wrong numbers, as `run_script` takes it."""
        return ":".join(["accuracy", *map(str, self.tolerance or ())])


def run_command(
    target: str, args: tuple[str, ...], module: bool, choices: Choices, ui: Terminal
) -> Result:
    """Run the script, and reduce what fails in it."""
    identity = _identity(target, args, module, choices.check)
    resumed = _resumable(choices.out, identity)
    if resumed is not None:
        ui.say(f"{choices.out} holds this case already: going on with it.")
        return _reduced(resumed, resumed.folder.parent, choices)
    with (
        Early(choices.options.jobs, _text(target, module)) as early,
        tempfile.TemporaryDirectory(prefix="torchcrux-cases-") as name,
    ):
        catcher = Catcher(
            target,
            args,
            module,
            check=choices.check,
            accuracy=choices.accuracy,
            bound=choices.bound,
            timeout=choices.options.timeout,
            folder=Path(name),
            say=ui.say,
            watch=early.watch,
            failed=early.failed,
        )
        try:
            result = _run_anew(catcher, choices, ui, identity, early)
        finally:
            catcher.settle()
    return _told(result, choices.out)


def _told(result: Result, out: Path | None) -> Result:
    """A result without a case is written as well, to a folder that the user has named."""
    if result.folder is not None or out is None:
        return result
    out.mkdir(parents=True, exist_ok=True)
    result = replace(result, folder=out)
    write(result)
    return result


def _run_anew(
    catcher: Catcher,
    choices: Choices,
    ui: Terminal,
    identity: dict[str, object],
    early: Early,
) -> Result:
    caught = catcher.caught()
    if caught.case is None:
        if choices.check != "auto" or not is_unexplained(caught):
            return _nothing(caught)
        ui.say("Running it once more, with torch.compile doing nothing.")
        return catcher.between_graphs(caught) or _nothing(caught)
    if caught.case.program is None:
        if caught.broken:
            details = "".join(f"\n{one}" for one in caught.broken)
            raise CommandError(f"The graph that failed could not be observed.{details}", NO_REPRO)
        ui.say("torch.compile failed before there was a graph. Running the script without it.")
        own = catcher.by_itself(caught)
        if own is not None:
            return own
    target = catcher.target
    out = choices.out or new_folder(OUT, target if catcher.module else Path(target).stem)
    out.mkdir(parents=True, exist_ok=True)
    _move(caught.case.folder, out / "case")
    write_atomically(out / "case" / "command.json", json.dumps(identity))
    case = replace(caught.case, folder=out / "case")
    if case.program is None:
        result = Result(
            status="not_reproduced",
            folder=out,
            failure=case.failure,
            message="It failed before there was a graph, in the front end of torch.compile;"
            " without torch.compile the script does not fail.",
        )
        write(result)
        return result
    ui.say(_caught_message(case))
    for note in case.notes:
        ui.say(note)
    started = early.fitting(case), early.ahead(case)
    result = reduce_case(case, out, choices.options, *started, unkept=caught.keep is not None)
    failed = result.status in ("not_reproduced", "not_a_bug") and not result.text
    if not failed or caught.keep is None:
        return result
    ui.say("It needs the values of its inputs. Running the script again, to keep them.")
    fuller = _with_inputs(catcher, caught.keep, case, ui)
    return _reduced(fuller or case, out, choices)


def _reduced(case: Case, out: Path, choices: Choices) -> Result:
    """What comes of a case that is on disk."""
    with Early(choices.options.jobs) as early:
        started = early.fitting(case), early.ahead(case)
        return reduce_case(case, out, choices.options, *started)


def _with_inputs(catcher: Catcher, keep: Keep, first: Case, ui: Terminal) -> Case | None:
    """A case replaced by one that has the inputs of the graph; None if the script does not end in
    the same way again."""
    waits = first.context is not None and first.context.synchronized
    caught = catcher.kept(keep, "device" if waits else "error")
    if caught.case is None or caught.case.failure.kind is not first.failure.kind:
        ui.say(f"The second time it ended in another way: {caught.message}")
        return None
    if not caught.case.stored:
        return None
    command = (first.folder / "command.json").read_text(encoding="utf-8")
    shutil.rmtree(first.folder)
    _move(caught.case.folder, first.folder)
    write_atomically(first.folder / "command.json", command)
    return replace(caught.case, folder=first.folder)


def _move(folder: Path, place: Path) -> None:
    """Move a case there, whole or not at all."""
    try:
        shutil.move(str(folder), place)
    except OSError:
        shutil.rmtree(place, ignore_errors=True)
        needed = sum(file.stat().st_size for file in folder.rglob("*"))
        free = shutil.disk_usage(place.parent).free
        raise CommandError(
            f"{place} could not be written: the case needs {needed:,} bytes, and {free:,} are free."
            " Make room or give another folder with --out, and run again.",
            NO_REPRO,
        ) from None


def _nothing(caught: Caught) -> Result:
    """The result for a script in which no failure of a compiler was caught."""
    if caught.broken:
        reason = caught.broken[0].strip().splitlines()[-1]
        caught = replace(caught, message=f"{caught.message} What we could not observe: {reason}")
    match caught.ending:
        case Ending.CANNOT_RUN:
            raise CommandError(caught.message, USAGE_ERROR)
        case Ending.BROKEN:
            details = "".join(f"\n{one}" for one in caught.broken)
            raise CommandError(caught.message + details, NO_REPRO)
        case Ending.KILLED | Ending.INTERRUPTED:
            raise CommandError(caught.message, NO_REPRO)
        case Ending.OTHER_ERROR:
            return Result(status="not_a_bug", message=caught.message)
    return Result(status="no_failure", message=caught.message)


def _caught_message(case: Case) -> str:
    failure, program = case.failure, case.program
    count = 0 if program is None else program.operations
    what = failure.kind.value.replace("_", " ")
    first = (failure.message.strip().splitlines() or [""])[0]
    return f"Caught: {what} ({failure.exception}: {first[:120]}) in a graph of {count} operations."


def _identity(target: str, args: tuple[str, ...], module: bool, check: str) -> dict[str, object]:
    digest = ""
    if not module:
        try:
            digest = hashlib.sha256(Path(target).read_bytes()).hexdigest()
        except OSError:
            digest = ""
    return {
        "target": target if module else str(Path(target).resolve()),
        "args": list(args),
        "module": module,
        "check": check,
        "sha256": digest,
    }


def _text(target: str, module: bool) -> str:
    """The text of a script, empty if there is none to be had."""
    try:
        return "" if module else Path(target).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _resumable(out: Path | None, identity: dict[str, object]) -> Case | None:
    """The case of the same command in `out`. Raises CommandError if something else is there."""
    if out is None or not out.exists():
        return None
    if not out.is_dir():
        raise CommandError(f"{out} is a file; --out takes a folder.")
    command = out / "case" / "command.json"
    if command.exists():
        if json.loads(command.read_text(encoding="utf-8")) == identity:
            return _load(out / "case")
        raise CommandError(
            f"{out} holds the case of another command (or the script has changed since);"
            " choose another --out, or remove that folder."
        )
    if any(file.name != RESULT for file in out.iterdir()):
        raise CommandError(f"{out} is not empty and holds no case; choose another --out.")
    return None


def _load(folder: Path) -> Case:
    try:
        return Case.load(folder)
    except CaseError as error:
        raise CommandError(str(error)) from error


def reduce_command(path: Path, choices: Choices, ui: Terminal) -> Result:
    """Reduce a captured case: its own folder, or the folder of a run that holds one."""
    inner = path / "case"
    case = _load(inner if inner.is_dir() else path)
    if case.program is None:
        raise CommandError(f"The failure in {path} arose before there was a graph.", NO_REPRO)
    out = choices.out or (path if inner.is_dir() else path.resolve().parent)
    if out.resolve() != case.folder.resolve().parent:
        if out.exists() and any(out.iterdir()):
            raise CommandError(f"{out} is not empty; choose another --out.")
        out.mkdir(parents=True, exist_ok=True)
        shutil.copytree(case.folder, out / "case")
        case = _load(out / "case")
    ui.say(_caught_message(case))
    return _reduced(case, out, choices)


def verify_command(repro: Path, timeout: float) -> tuple[int, str]:
    """Exit status and message: 0 if `repro` fails as its result.json says (or fails at all)."""
    (run,) = run_fresh(repro, 1, timeout)
    if run.code == 0:
        return 1, f"{repro} no longer fails."
    expected = _expected(repro)
    if expected is None:
        return 0, f"{repro} fails (status {run.code}); there is no result.json to compare with."
    different = difference(expected, run)
    if different is None:
        return 0, f"{repro} still fails in the same way."
    return NO_REPRO, f"{repro} fails in another way: {different}."


def _expected(repro: Path) -> Failure | None:
    file = repro.parent / "case" / "final.json"
    if not file.exists():
        return None
    return Failure.from_json(json.loads(file.read_text(encoding="utf-8")))
