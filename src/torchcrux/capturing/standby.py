"""What is needed of a process that may be gone the next moment, laid on disk beforehand.

Each graph is written as JSON before a compiler sees it, without any tensor's data. A page of
memory that is shared with a file says which graph is being compiled or run, and since when: it
costs no system call, and outlives the process. The Python frames come from `faulthandler`.
"""

from __future__ import annotations

import faulthandler
import fcntl
import json
import mmap
import os
import resource
import signal
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torchcrux.case import store
from torchcrux.oracle.fatal import During
from torchcrux.program.context import Context
from torchcrux.program.ir import Program
from torchcrux.program.serial import (
    context_from_json,
    context_to_json,
    program_from_json,
    program_to_json,
)

if TYPE_CHECKING:
    import torch

DUMP_SIGNAL = signal.SIGRTMAX
"""Asks a watched process for its Python frames; not one that programs use."""

LEAST_LIMIT = 60.0
PER_OPERATION = 0.5
CALLS_FACTOR = 20.0
"""A compilation may take a minute or half a second for each operation, a call a minute or 20 times
the longest so far, whichever is longer. What takes longer is taken for a hang."""

STANDBY = "standby"
"""Name of the folder, beside the cases."""

_PAGE = "page"
_DUMP = "frames.txt"
_RECORD = struct.Struct("<qqqdd")  # graph, doing, calls of that graph, begin, limit
_DOING = (None, During.COMPILE, During.RUN, During.BACKWARD)
_HIGH = 3500


@dataclass(frozen=True, slots=True)
class Keep:
    """Which inputs to lay on disk as well: those of call `calls` of a graph, and later ones."""

    graph: int
    calls: int

    @classmethod
    def parse(cls, text: str) -> Keep | None:
        graph, _, calls = text.partition(":")
        return cls(int(graph), int(calls)) if calls else None

    def __str__(self) -> str:
        return f"{self.graph}:{self.calls}"


class Standby:
    """The side of the watched process. A forked child of it does nothing here.

    `limit` is in seconds, for one compilation and for one call; None leaves it to the program.
    """

    def __init__(self, folder: Path, limit: float | None = None, keep: Keep | None = None) -> None:
        self.folder = folder
        self.keep = keep
        self._limit = limit
        self._graphs = 0
        self._calls: dict[int, int] = {}
        self._longest: dict[int, float] = {}
        self._process = os.getpid()
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / _PAGE
        file.write_bytes(bytes(_RECORD.size))
        with file.open("r+b") as opened:
            self._page = mmap.mmap(opened.fileno(), _RECORD.size)

    def dump_frames(self) -> None:
        """Have the frames written to a file of ours when the process dies, unless the program has
        asked for them itself, and when we ask."""
        opened = os.open(self.folder / _DUMP, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        lowest = _HIGH if soft == resource.RLIM_INFINITY else max(3, min(soft - 16, _HIGH))
        descriptor = fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, lowest)
        os.close(opened)  # the program gets the numbers that it would get without us
        if not faulthandler.is_enabled():
            faulthandler.enable(file=descriptor, all_threads=True)
        faulthandler.register(DUMP_SIGNAL, file=descriptor, all_threads=True, chain=False)

    def graph(self, program: Program, context: Context, notes: tuple[str, ...]) -> int:
        """Lay a graph on disk; the number by which `busy` calls it."""
        self._graphs += 1
        if os.getpid() == self._process:
            around = {"context": context_to_json(context), "notes": list(notes)}
            for name, data in (("context", around), ("graph", program_to_json(program))):
                text = json.dumps(data, separators=(",", ":"))
                (self.folder / f"{name}-{self._graphs}.json").write_text(text, encoding="utf-8")
        return self._graphs

    def begin(self, graph: int, during: During, operations: int = 0) -> bytes:
        """From here on the process is in the hands of a compiler, or of what it compiled. Returns
        what `end` needs."""
        before = self._page[:]
        if os.getpid() != self._process:
            return before
        limit = self._limit or max(
            LEAST_LIMIT,
            PER_OPERATION * operations,
            CALLS_FACTOR * self._longest.get(graph, 0.0),
        )
        if during is During.RUN:
            self._calls[graph] = self._calls.get(graph, 0) + 1
        calls = self._calls.get(graph, 0)
        _RECORD.pack_into(
            self._page, 0, graph, _DOING.index(during), calls, time.monotonic(), limit
        )
        return before

    def end(self, before: bytes) -> None:
        if os.getpid() != self._process:
            return
        graph, doing, _, begin, _ = _RECORD.unpack_from(self._page)
        if _DOING[doing] is not During.COMPILE:
            taken = time.monotonic() - begin
            if taken > self._longest.get(graph, 0.0):
                self._longest[graph] = taken
        self._page[:] = before

    def keeps(self, graph: int) -> bool:
        """Whether the inputs of the call, or compilation, that is about to begin are wanted."""
        if self.keep is None or os.getpid() != self._process or graph != self.keep.graph:
            return False
        return self._calls.get(graph, 0) + 1 >= self.keep.calls

    def here(self, graph: int) -> Keep:
        """What keeps the inputs of the latest call of a graph in another run."""
        return Keep(graph, max(1, self._calls.get(graph, 0)))

    def keep_inputs(
        self, graph: int, program: Program, tensors: Mapping[str, torch.Tensor]
    ) -> None:
        """Lay the inputs of a graph on disk; the last ones stay."""
        stem = self.folder / f"inputs-{graph}"
        partial = stem.with_suffix(".partial")
        store(partial, tensors)
        text = json.dumps(program_to_json(program))
        stem.with_suffix(".json").write_text(text, encoding="utf-8")
        partial.replace(stem.with_suffix(".safetensors"))


@dataclass(frozen=True, slots=True)
class Activity:
    """What a watched process is, or was, doing. `begin` is in seconds of `time.monotonic`, which
    all processes of a machine share; `calls` counts those of the graph, this one included."""

    graph: int
    during: During
    calls: int
    begin: float
    limit: float


def activity(folder: Path) -> Activity | None:
    """What the process that stands by in `folder` is doing; None if nothing of a compiler's."""
    try:
        data = (folder / _PAGE).read_bytes()
    except FileNotFoundError:
        return None
    if len(data) != _RECORD.size:
        return None
    graph, doing, calls, begin, limit = _RECORD.unpack(data)
    during = _DOING[doing] if 0 <= doing < len(_DOING) else None
    return None if during is None else Activity(graph, during, calls, begin, limit)


def left_context(folder: Path, graph: int) -> tuple[Context, tuple[str, ...]]:
    """The context of a graph laid on disk, with notes. Raises OSError or ValueError if it is not
    there in full."""
    data = json.loads((folder / f"context-{graph}.json").read_text(encoding="utf-8"))
    return context_from_json(data["context"]), tuple(data["notes"])


def left_graph(folder: Path, graph: int) -> Program:
    """The graph laid on disk, with the specs of the kept inputs if there are some; raises as
    `left_context` does."""
    stem = "graph" if left_inputs(folder, graph) is None else "inputs"
    return program_from_json(json.loads((folder / f"{stem}-{graph}.json").read_text("utf-8")))


def left_inputs(folder: Path, graph: int) -> Path | None:
    """The safetensors file of the inputs that were kept, if any were."""
    file = folder / f"inputs-{graph}.safetensors"
    return file if file.exists() else None


def left_frames(folder: Path) -> str:
    """What `faulthandler` wrote, empty if nothing."""
    try:
        return (folder / _DUMP).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
