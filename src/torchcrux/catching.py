"""How often, and with which checks, a script is run until it is known which graph fails."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torchcrux.blame import between_graphs, by_itself
from torchcrux.capturing.script import Caught, Ending, not_compared, run_script
from torchcrux.capturing.standby import Keep
from torchcrux.case import Case
from torchcrux.oracle.cost import MEBIBYTES, SECONDS, named_bound
from torchcrux.oracle.failure import is_of_device
from torchcrux.report.result import Result

MORE_RUNS, MORE_SECONDS = 5, 60.0


@dataclass
class Catcher:
    """Runs ``target args`` in `folder`, whose subfolders are those of the runs.

    `check` is that of the command line, `accuracy` the one for wrong numbers with its tolerance,
    `bound` what may be spent, `timeout` the seconds after which something hangs. `watch` is as in
    `run_script`; `failed` is called as soon as something does, with the case if it is known.
    """

    target: str
    args: tuple[str, ...]
    module: bool
    check: str
    accuracy: str
    bound: float | None
    timeout: float | None
    folder: Path
    say: Callable[[str], None]
    watch: Callable[[Path], None] = lambda folder: None
    failed: Callable[[Case | None], None] = lambda case: None
    _lingering: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def caught(self) -> Caught:
        """Run the script; where it fails without a word of a compiler, once more with its graphs
        compared."""
        check, started = self.check, time.monotonic()
        first = {"accuracy": self.accuracy, "memory": f"memory:{self.bound or 0}"}
        hangs = check in ("auto", "hang")
        caught = self._run(
            "1", first.get(check, "error"), hangs=hangs, limit=self.timeout, watch=self.watch
        )
        if caught.case is not None or is_unexplained(caught):
            self.failed(caught.case)
        if _stops_device(caught):
            return self._late(caught)
        if check == "slow":
            return self._slow(caught, self.bound)
        passed = caught.ending is Ending.PASSED and not caught.status and caught.graphs
        if check == "auto" and passed:
            return self._seldom(caught, time.monotonic() - started)
        if check == "auto" and is_unexplained(caught):
            return self._compared(caught)
        return caught

    def kept(self, keep: Keep, check: str) -> Caught:
        """Run the script again, laying on disk what `keep` names."""
        hangs = self.check in ("auto", "hang")
        return self._again("kept", check, hangs=hangs, limit=self.timeout, keep=keep)

    def by_itself(self, caught: Caught) -> Result | None:
        self.settle()
        return by_itself(self.target, self.args, self.module, caught, self.folder / "plain")

    def between_graphs(self, caught: Caught) -> Result | None:
        self.settle()
        return between_graphs(self.target, self.args, self.module, caught, self.folder / "plain")

    def settle(self) -> None:
        """Wait for the scripts whose failure is known, and in which Python winds down."""
        while self._lingering:
            self._lingering.pop().wait()

    def _run(self, name: str, check: str, **options: Any) -> Caught:
        return run_script(
            self.target,
            self.args,
            module=self.module,
            check=check,
            folder=self.folder / name,
            say=self.say,
            lingering=self._lingering,
            **options,
        )

    def _again(self, name: str, check: str, **options: Any) -> Caught:
        self.settle()  # there may be no room for its model twice
        return self._run(name, check, quiet_output=True, **options)

    def _compared(self, caught: Caught) -> Caught:
        self.say(
            "The script failed by itself after torch.compile had done its work. Running it again,"
            " with each compiled graph compared with eager."
        )
        again = self._again("2", self.accuracy)
        if again.case is not None:
            return again
        right = (
            f"{caught.message}. In none of them did a value differ from eager's by more than"
            " rounding explains (--rtol and --atol set another bound)."
        )
        right += not_compared(again.uncompared)
        caught = replace(caught, message=right)
        said = "" if caught.exception is None else caught.exception.message
        seconds = named_bound(said, SECONDS, caught.slowest)
        if seconds is not None:
            return self._slow(caught, seconds)
        memory = named_bound(said, MEBIBYTES)
        if memory is None:
            self.say(
                "The values are right. Running it once more, comparing what else outputs have."
            )
            check = "attributes"
        else:
            self.say(
                f"Its message names {memory:g} MiB. Running it once more, measuring the memory."
            )
            check = f"memory:{memory}"
        again = self._again("3", check)
        return caught if again.case is None else again

    def _late(self, caught: Caught) -> Caught:
        """Which graph has started what went wrong on an accelerator; `caught` if that was none."""
        self.say(
            "Something went wrong on the accelerator, which tells of it late. Running the script"
            " again, waiting for it after each call of a compiled graph."
        )
        again = self._again("2", "device")
        return caught if again.case is None else again

    def _slow(self, caught: Caught, bound: float | None) -> Caught:
        """The compilation that takes too long; `caught` if none does."""
        bound = bound or caught.slowest / 2
        if caught.slowest < max(bound, SECONDS.least):
            message = f"{caught.message} Its slowest compilation took {caught.slowest:.1f} s."
            return caught if caught.case else replace(caught, message=message)
        self.say(
            f"Compiling one graph has taken {caught.slowest:.1f} s; more than {bound:g} s is too"
            " long. Running the script again, to catch that graph."
        )
        again = self._again("slow", f"slow:{bound}")
        return caught if again.case is None else again

    def _seldom(self, caught: Caught, seconds: float) -> Caught:
        """Who asks about a script has seen it fail: run it again, if it is short; `caught` if it
        passes each time."""
        times = min(MORE_RUNS, int(MORE_SECONDS // seconds))
        if times == 0:
            return caught
        self.say(
            f"Nothing failed. Running it up to {times} times more: it may fail only now and then."
        )
        for number in range(times):
            again = self._again(f"again-{number}", "error")
            if again.case is not None:
                return again
        return replace(caught, message=f"{caught.message} The same in {times} further runs.")


def is_unexplained(caught: Caught) -> bool:
    """Whether the script failed by itself, with an exception of its own or an exit status, after
    something had been compiled."""
    failed = caught.ending is Ending.OTHER_ERROR or (
        caught.ending is Ending.PASSED and bool(caught.status)
    )
    return failed and caught.graphs > 0


def _stops_device(caught: Caught) -> bool:
    if caught.case is not None:
        return caught.case.failure.stops_device
    error = caught.exception
    return error is not None and caught.graphs > 0 and is_of_device(error.type, error.message)
