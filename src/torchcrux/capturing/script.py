"""Run a user's program under the agent, in a process of its own, and tell how it ended."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import tokenize
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from torchcrux.capturing.ended import Ended, end, fatal_case, keep_of, wait
from torchcrux.capturing.records import Status, Uncaught, read_status
from torchcrux.capturing.standby import STANDBY, Keep
from torchcrux.case import Case, CaseError
from torchcrux.oracle.failure import Kind


class Ending(str, Enum):
    """How a watched program ended."""

    CAUGHT = "a failure of the compiler was caught"
    OTHER_ERROR = "it died of an exception that has nothing to do with the compiler"
    KILLED = "it was killed by a signal"
    INTERRUPTED = "it was interrupted"
    NO_GRAPH = "nothing was compiled"
    PASSED = "nothing failed"
    CANNOT_RUN = "there is no such program, or it does not parse"
    BROKEN = "torchcrux itself failed"


@dataclass(frozen=True, slots=True)
class Caught:
    """`status` is the exit status as a shell would see it, None if the program was not started.

    `case` is the failure to reduce: the one that ended the program, else the first that it
    swallowed (then `swallowed` is true). `others` are the further ones. `message` says in a
    sentence what happened, for the user. `broken` are tracebacks of our own errors, which never
    reached the program. `keep`, given to another run, brings the inputs of a graph that killed the
    program. `slowest` is the longest that the compiler took for one graph, in seconds.
    `uncompared` are the reasons for which calls were not compared with eager.
    """

    ending: Ending
    message: str
    status: int | None
    case: Case | None = None
    swallowed: bool = False
    others: tuple[Case, ...] = ()
    exception: Uncaught | None = None
    signal: int | None = None
    graphs: int = 0
    broken: tuple[str, ...] = ()
    keep: Keep | None = None
    slowest: float = 0.0
    uncompared: tuple[str, ...] = ()


def run_script(
    target: str,
    args: Sequence[str],
    *,
    module: bool = False,
    check: str = "error",
    folder: Path,
    env: Mapping[str, str] | None = None,
    quiet_output: bool = False,
    hangs: bool = False,
    limit: float | None = None,
    keep: Keep | None = None,
    say: Callable[[str], None] = lambda text: None,
    watch: Callable[[Path], None] = lambda folder: None,
    lingering: list[subprocess.Popen[bytes]] | None = None,
) -> Caught:
    """Run ``target args`` and keep what failed in `folder`, which must not hold cases yet.

    `check` is "error", "accuracy" or "accuracy:RTOL:ATOL", "attributes" (of outputs whose values
    are right), "device" (wait for the accelerator after each call), or "slow:" or "memory:" with
    the seconds, or the MiB beyond eager's, that one graph may take. `env` replaces the
    environment. With `quiet_output` the program's output is dropped. With `hangs` the program is
    ended when one compilation, or one call of a compiled graph, takes more than `limit` seconds (by
    default, what is not plausible); `say` tells the user. `watch` is called now and then with the
    folder in which the program lays down its graphs. The program inherits stdin and the terminal;
    Ctrl-C reaches it as it would without us, and we go on once it has ended; or, if there is a list
    for those that are `lingering`, once a failure has ended its code and Python winds down.
    """
    if not module:
        problem = _unreadable(Path(target))
        if problem:
            return Caught(Ending.CANNOT_RUN, problem, None)
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", _START, _HOME, "--cases", str(folder), "--check", check]
    command += ["--limit", str(limit or 0), "--keep", str(keep or "-")]
    command += [*(["-m"] if module else []), target, *args]
    sink = subprocess.DEVNULL if quiet_output else None
    environment = None if env is None else dict(env)
    with _interrupts_reach_only_the_child():
        child = subprocess.Popen(command, env=environment, stdout=sink, stderr=sink)
        try:
            ended = wait(
                child,
                folder / STANDBY,
                hangs=hangs,
                strict=limit is not None,
                say=say,
                watch=watch,
                over=lambda: lingering is not None and _is_over(folder),
            )
        except BaseException:  # SIGTERM reaches us alone
            end(child)
            raise
    if lingering is not None:
        lingering.append(child)
    return _judge(folder, ended, target, module=module)


_HOME = str(Path(__file__).resolve().parents[2])
# The child finds this package where we did, without a trace of that in its path or environment.
_START = """
import sys
sys.path.insert(0, sys.argv[1])
from torchcrux.capturing.agent import main
del sys.path[0]
sys.exit(main(sys.argv[2:]))
"""


@contextmanager
def _interrupts_reach_only_the_child() -> Iterator[None]:
    """A Ctrl-C goes to the whole group of processes; ours waits for what the program makes of it.

    A handler instead of SIG_IGN, because a child would inherit that.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        yield
        return
    before = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _unreadable(path: Path) -> str:
    """Why `path` cannot be run as a script; empty if it can."""
    if not path.exists():
        return f"There is no script {path}."
    if path.is_dir():
        return f"{path} is a folder, not a script."
    try:
        with tokenize.open(path) as file:
            compile(file.read(), str(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        where = f"line {error.lineno}: " if error.lineno else ""
        return f"{path} does not parse: {where}{error.msg}."
    except (OSError, UnicodeDecodeError, ValueError) as error:
        return f"{path} cannot be read: {error}."
    return ""


def _judge(folder: Path, ended: Ended, target: str, *, module: bool) -> Caught:
    status = read_status(folder)
    code = ended.code
    number = -code if code < 0 else None
    shown = 128 - code if code < 0 else code
    if status is None:
        if module and number is None:
            message = f"There is no module {target} that can be run."
            return Caught(Ending.CANNOT_RUN, message, shown)
        message = "The program could not be started under observation."
        return Caught(Ending.BROKEN, message, shown, signal=number)
    finished = status.phase == "ended"
    try:
        last = fatal_case(ended, folder / STANDBY, folder, finished=finished)
    except (OSError, ValueError) as error:
        last = None
        status.broken.append(f"The graph that ended the program is not whole: {error}")
    cases, unreadable = _cases(folder, status)
    broken = (*status.broken, *unreadable)
    chosen = _chosen(status, cases) if last is None else last.folder.name
    facts = {
        "status": shown,
        "exception": status.uncaught,
        "signal": number,
        "graphs": status.graphs,
        "slowest": status.slowest,
        "broken": broken,
        "uncompared": tuple(status.uncompared),
    }
    if last is not None:
        del cases[last.folder.name]
        return Caught(
            Ending.CAUGHT,
            f"{last.failure.message}.",
            case=last,
            others=tuple(cases.values()),
            keep=keep_of(last),
            **facts,  # type: ignore[arg-type]
        )
    if chosen is not None:
        case = cases.pop(chosen)
        own = status.uncaught is not None and status.uncaught.case == chosen
        swallowed = not own and not status.stopped
        message = {
            Kind.ACCURACY: "Wrong numbers were found",
            Kind.SLOW_COMPILE: "A compilation that takes too long was found",
            Kind.MEMORY: "A graph that needs too much memory was found",
        }.get(case.failure.kind, f"{case.failure.exception} was caught")
        message += ", which the program itself swallowed." if swallowed else "."
        return Caught(
            Ending.CAUGHT,
            message,
            case=case,
            swallowed=swallowed,
            keep=Keep.parse(status.lost.get(chosen, "")),
            others=tuple(cases.values()),
            **facts,  # type: ignore[arg-type]
        )
    ending, message = _nothing_caught(status, number, shown)
    return Caught(ending, message, **facts)  # type: ignore[arg-type]


def _chosen(status: Status, cases: Mapping[str, Case]) -> str | None:
    """The case that ended the program, else the first that it swallowed. A failure that Dynamo
    answers by falling back to eager counts only if it ended the program."""
    if status.uncaught is not None and status.uncaught.case in cases:
        return status.uncaught.case
    if status.stopped and status.cases and status.cases[-1] in cases:  # else it is unreadable
        return status.cases[-1]
    for name in cases:
        if name not in status.maybe:
            return name
    return None


def _nothing_caught(status: Status, number: int | None, shown: int) -> tuple[Ending, str]:
    ended = status.phase == "ended"
    after = f"after {status.graphs} compiled graphs" if status.graphs else "before any compilation"
    if number == signal.SIGINT or (status.uncaught and status.uncaught.type == "KeyboardInterrupt"):
        return Ending.INTERRUPTED, "The program was interrupted."
    if number is not None:
        return Ending.KILLED, f"The program was killed by {_signal_name(number)} {after}."
    if status.broken and not status.uncaught:
        return Ending.BROKEN, "torchcrux could not observe a compiled graph."
    if status.uncaught is not None:
        error = status.uncaught
        text = f"{error.type}: {error.message}".strip().rstrip(":").splitlines()[0]
        return Ending.OTHER_ERROR, f"The program failed outside torch.compile, {after}: {text}"
    exits = f"with status {shown}" if ended else f"abruptly, with status {shown},"
    if not status.graphs:
        return Ending.NO_GRAPH, f"The program ended {exits} and compiled nothing."
    return Ending.PASSED, (
        f"The program ended {exits} after {status.graphs} compiled graphs, and none of them failed."
        f"{not_compared(status.uncompared)}"
    )


def not_compared(reasons: Sequence[str]) -> str:
    """A further sentence on calls that could not be compared; empty if all could."""
    if not reasons:
        return ""
    return f" Some calls were not compared, since eager refuses them: {reasons[0].rstrip('.')}."


def _is_over(folder: Path) -> bool:
    status = read_status(folder)
    return status is not None and status.over


def _cases(folder: Path, status: Status) -> tuple[dict[str, Case], list[str]]:
    """The cases of the program in the order of their failures, then those of its children."""
    names = [path.name for path in sorted(folder.iterdir()) if (path / "case.json").exists()]
    cases: dict[str, Case] = {}
    unreadable = []
    for name in dict.fromkeys((*status.cases, *names)):
        found = _loaded(folder / name)
        if isinstance(found, Case):
            cases[name] = found
        else:
            unreadable.append(found)
    return cases, unreadable


def _loaded(folder: Path) -> Case | str:
    try:
        return Case.load(folder)
    except CaseError as error:
        return str(error)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
