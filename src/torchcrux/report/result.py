"""`result.json`: the same facts for machines. Its keys are a contract."""

from __future__ import annotations

import ast
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import torchcrux
from torchcrux.oracle.failure import Failure
from torchcrux.program.ir import Origin, Program

SCHEMA = 1
RESULT = "result.json"


@dataclass(frozen=True)
class Sizes:
    captured: int
    final: int


@dataclass(frozen=True)
class Find:
    """Another failure met on the way."""

    exception: str
    message: str
    script: str


@dataclass(frozen=True)
class Result:
    """The end of a run. `folder` holds everything; `status` is one of CONTRACT.md's words.
    `frequency` says of a failure that does not always come how often it did: "3 of 10". `steps`
    are, for each better script, the questions asked and the operations left by then; `printed` is
    what the script, `text`, printed to stderr when it was verified. Of the `seconds`, those before
    it was explained and verified are `search_seconds`, those before it was verified
    `verified_seconds`, None if it was not. `left_out` counts the lines of the user's code that
    would have come along, and were left out since the script does not execute or need them."""

    status: str
    folder: Path | None = None
    message: str = ""
    failure: Failure | None = None
    layer: str = ""
    operations: Sizes | None = None
    elements: Sizes | None = None
    lines: int = 0
    left_out: int = 0
    text: str = ""
    printed: str = ""
    program: Program | None = None
    queries: int = 0
    seconds: float = 0.0
    search_seconds: float = 0.0
    verified_seconds: float | None = None
    jobs: int = 0
    verified_runs: int = 0
    minimal: bool = False
    necessary: Sequence[tuple[str, str]] = ()
    layers: Sequence[tuple[str, str]] = ()
    workarounds: Sequence[str] = ()
    finds: Sequence[Find] = ()
    origin: Sequence[tuple[str, Origin]] = ()
    obstacles: Sequence[str] = ()
    broken: int = 0
    frequency: str = ""
    steps: Sequence[tuple[int, int]] = ()
    files: dict[str, str] = field(default_factory=dict)

    @property
    def exit_status(self) -> int:
        return {
            "reduced": 0,
            "no_failure": 1,
            "not_a_bug": 1,
            "not_reproduced": 3,
            "stopped_early": 4,
        }[self.status]

    @property
    def omission(self) -> str:
        """What a reader should know who knows the user's code; empty if it came along whole."""
        count = self.left_out
        if not count:
            return ""
        return f"{count} line{'s' * (count > 1)} of the user's code, which it does without"

    @property
    def named_files(self) -> list[str]:
        """The files of this machine that the script names, and may read or look beside."""
        if not self.text:
            return []
        nodes = ast.walk(ast.parse(self.text))
        texts = [node.value for node in nodes if isinstance(node, ast.Constant)]
        return [text for text in dict.fromkeys(texts) if isinstance(text, str) and _is_file(text)]

    @property
    def repro(self) -> Path | None:
        if self.folder is None or "repro" not in self.files:
            return None
        return self.folder / self.files["repro"]

    def to_json(self) -> dict[str, Any]:
        data: dict[str, Any] = {"schema": SCHEMA, "status": self.status, "message": self.message}
        if self.failure is not None:
            data["failure"] = {
                "kind": self.failure.kind.value,
                "stage": self.failure.stage.value,
                "exception": self.failure.exception,
                "message": self.failure.message,
                "signal": self.failure.signal,
                "layer": self.layer,
            }
        if self.frequency:
            data["frequency"] = self.frequency
        for name in ("operations", "elements"):
            sizes = getattr(self, name)
            if sizes is not None:
                data[name] = {"captured": sizes.captured, "final": sizes.final}
        data.update(
            lines=self.lines,
            left_out=self.left_out,
            named_files=self.named_files,
            queries=self.queries,
            seconds=round(self.seconds, 2),
            search_seconds=round(self.search_seconds, 2),
            verified_seconds=self.verified_seconds and round(self.verified_seconds, 2),
            jobs=self.jobs,
            verified_runs=self.verified_runs,
            minimal=self.minimal,
            necessary=[
                {"change": change, "verdict": verdict} for change, verdict in self.necessary
            ],
            different_failures=[
                {"exception": find.exception, "message": find.message, "script": find.script}
                for find in self.finds
            ],
            origin=[
                {
                    "operation": operation,
                    "file": origin.file,
                    "line": origin.line,
                    "code": origin.code,
                    "module": origin.module,
                }
                for operation, origin in self.origin
            ],
            layers=[{"backend": name, "verdict": verdict} for name, verdict in self.layers],
            workarounds=[{"change": change, "verified": True} for change in self.workarounds],
            obstacles=list(self.obstacles),
            broken=self.broken,
            versions=versions(),
            files=self.files,
        )
        return data


def _is_file(path: str) -> bool:
    try:
        return Path(path).is_absolute() and Path(path).is_file()
    except (OSError, ValueError):  # a text that no path can be
        return False


def origins(program: Program) -> list[tuple[str, Origin]]:
    """Where the operations of `program` come from; files below this folder as seen from it."""
    from torchcrux.emit.random import name_of

    return [
        (name_of(node), replace(node.origin, file=_from_here(node.origin.file)))
        for node in program.calls
        if node.origin is not None
    ]


def _from_here(file: str) -> str:
    path = Path(file)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def versions() -> dict[str, str]:
    return {
        "torch": metadata.version("torch"),
        "python": platform.python_version(),
        "torchcrux": torchcrux.__version__,
    }


def write_atomically(path: Path, text: str) -> None:
    """A reader sees the old file or the new one, never a part. Raises OSError, with the name of
    the file, if there is no room for it."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from None


def write(result: Result) -> None:
    if result.folder is not None:
        text = json.dumps(result.to_json(), indent=2, ensure_ascii=False) + "\n"
        write_atomically(result.folder / RESULT, text)
