"""Runs a user's program and watches what it compiles.

    python -m torchcrux.capturing.agent --cases DIR --check CHECK
        --limit SECONDS --keep GRAPH:CALLS [-m] TARGET ARGS...

`--check` is as in `capturing.script.run_script`. `--limit` is for one compilation or call; 0 leaves
it to us. `--keep` names the graph whose inputs are laid on disk before it is compiled or called
("-" for none).

The program sees what it would see without us: it is `__main__`, torch is not imported before it
imports it, and its exit status and its traceback are its own.
"""

from __future__ import annotations

import atexit
import sys
from pathlib import Path

from torchcrux.capturing import execution
from torchcrux.capturing.frames import strip
from torchcrux.capturing.records import Records, Uncaught
from torchcrux.capturing.standby import STANDBY, Keep, Standby
from torchcrux.capturing.watching import Watching

USAGE = (
    "usage: python -m torchcrux.capturing.agent --cases DIR --check CHECK"
    " --limit SECONDS --keep GRAPH:CALLS [-m] TARGET ..."
)
_OPTIONS = ["--cases", "--check", "--limit", "--keep"]


class Agent:
    """One watched process."""

    def __init__(self, cases: Path, check: str, limit: float | None, keep: Keep | None) -> None:
        self.records = Records(cases)
        self.standby = Standby(cases / STANDBY, limit, keep)
        self.watching = Watching(self.records, check, self.standby)

    def run(self, target: str, args: list[str], *, module: bool) -> int:
        """The exit status, except for SystemExit, which passes through.

        Raises execution.CannotStart.
        """
        try:
            prepare = execution.module if module else execution.script
            prepared = prepare(target, args)
            self.records.save()
            self.standby.dump_frames()
            self.watching.install()
            execution.execute(prepared)
        except SystemExit:
            self._end()
            raise
        except execution.CannotStart:
            raise
        except BaseException as error:
            return self._failed(error)
        self._end()
        return 0

    def _failed(self, error: BaseException) -> int:
        if self.watching.ended_by_us(error):
            self._end()
            return 1
        case = self.watching.case_of(error)
        strip(error)
        self.records.status.uncaught = Uncaught(type(error).__name__, _message(error), case)
        self._end()
        execution.report(error)
        self.records.status.told = True
        self.records.save()
        if isinstance(error, KeyboardInterrupt):
            atexit.register(execution.die_of_interrupt)
        return 1

    def _end(self) -> None:
        self.records.status.phase = "ended"
        self.records.save()


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as failed:
        return f"<its message cannot be shown: {failed!r}>"


def main(argv: list[str]) -> int:
    """Returns the exit status."""
    if len(argv) < 9 or argv[:8:2] != _OPTIONS:
        print(USAGE, file=sys.stderr)
        return 2
    cases, check, limit, keep = argv[1:8:2]
    agent = Agent(Path(cases).resolve(), check, float(limit) or None, Keep.parse(keep))
    module = argv[8] == "-m"
    target, *args = argv[9:] if module else argv[8:]
    try:
        return agent.run(target, args, module=module)
    except execution.CannotStart as reason:
        print(f"{sys.executable}: {reason}", file=sys.stderr)
        return 1 if module else 2


if __name__ == "__main__":
    # The program becomes __main__; what runs it must stay importable under its own name.
    from torchcrux.capturing.agent import main as start

    sys.exit(start(sys.argv[1:]))
