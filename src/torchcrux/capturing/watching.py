"""Puts the hooks in place: at once for what is imported, later for what is not yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torchcrux.capturing.imports import PostImport
from torchcrux.capturing.records import Records
from torchcrux.capturing.standby import Standby
from torchcrux.torch_modules import CONVERT_FRAME, OUTPUT_GRAPH

if TYPE_CHECKING:
    from torchcrux.capturing.hook import Watcher
    from torchcrux.capturing.watched import Checker


class Watching:
    """`watcher` is None until Dynamo has been imported; until then nothing here imports torch.

    `check` is as in `capturing.script.run_script`, `standby` for a process that somebody waits for.
    """

    def __init__(self, records: Records, check: str, standby: Standby | None = None) -> None:
        self.records = records
        self.standby = standby
        self.watcher: Watcher | None = None
        self._check = check
        self._imports = PostImport(
            {OUTPUT_GRAPH: self._watch_graphs, CONVERT_FRAME: self._watch_frames}
        )

    def install(self) -> None:
        self._imports.install()

    def remove(self) -> None:
        self._imports.remove()
        if self.watcher is not None:
            self.watcher.undo()

    def case_of(self, error: BaseException) -> str:
        """The name of the case that an exception belongs to, empty if none."""
        try:
            return "" if self.watcher is None else self.watcher.case_of(error)
        except Exception:
            self.records.broken()
            return ""

    def ended_by_us(self, error: BaseException) -> bool:
        """Whether the accuracy check raised this to end the program."""
        if self.watcher is None:
            return False
        from torchcrux.capturing.watched import Stopped

        return isinstance(error, Stopped)

    def _watch_graphs(self) -> None:
        try:
            watcher = self._made()
            watcher.watch_graphs()
            watcher.watch_backward()
        except Exception:
            self.records.broken()

    def _watch_frames(self) -> None:
        try:
            self._made().watch_frames()
        except Exception:
            self.records.broken()

    def _made(self) -> Watcher:
        if self.watcher is None:
            from torchcrux.capturing.accuracy import AccuracyChecker
            from torchcrux.capturing.attributes import AttributeChecker
            from torchcrux.capturing.device import DeviceChecker
            from torchcrux.capturing.hook import Watcher
            from torchcrux.capturing.memory import MemoryChecker
            from torchcrux.oracle.cost import MEBIBYTES, Bound
            from torchcrux.oracle.tolerance import Tolerance

            name, *limits = self._check.split(":")
            tolerance = Tolerance(*map(float, limits)) if len(limits) == 2 else None
            checkers: dict[str, Checker] = {
                "accuracy": AccuracyChecker(tolerance),
                "attributes": AttributeChecker(),
                "device": DeviceChecker(),
            }
            checker = checkers.get(name)
            bound = Bound.parse(self._check)
            if bound is not None and bound.measure is MEBIBYTES:
                checker, bound = MemoryChecker(bound), None
            self.watcher = Watcher(self.records, checker, self.standby, bound)
        return self.watcher
