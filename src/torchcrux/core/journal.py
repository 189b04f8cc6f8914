"""Every verdict on disk before the next question: a killed run resumes, and asks nothing twice.

One JSON object a line, `{"key": ..., "verdict": {...}}`, only ever appended. A line counts once its
newline is there; what a killed run left behind the last newline is cut off.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any


class JournalError(Exception):
    """The journal cannot be read or written; the message says why and what to do."""


class CaseInUse(JournalError):
    """Another run works on the same case."""


class Journal:
    """The verdicts of one case. Holds a lock on the case's folder until closed.

    The lock is on a file beside the journal, which stays: to remove it would let two runs hold
    locks on two files of one name. The kernel drops it with the process, however that ends.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._verdicts: dict[str, dict[str, Any]] = {}
        with contextlib.ExitStack() as undo, _explained(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(self.path.with_name(self.path.name + ".lock"))
            undo.callback(os.close, self._lock)
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            undo.callback(os.close, self._file)
            self._size = self._load()
            _sync_folder(self.path.parent)
            self._close = undo.pop_all()

    def get(self, key: str) -> dict[str, Any] | None:
        return self._verdicts.get(key)

    def __len__(self) -> int:
        return len(self._verdicts)

    def record(self, key: str, verdict: Mapping[str, Any]) -> None:
        """On return it is on the disk. Of two verdicts for one key the later counts."""
        kept = dict(verdict)
        line = json.dumps({"key": key, "verdict": kept}, separators=(",", ":")).encode() + b"\n"
        with _explained(self.path):
            if os.fstat(self._file).st_size != self._size:
                # A write that failed half-way must not be the start of this line.
                os.ftruncate(self._file, self._size)
            written = 0
            while written < len(line):
                written += os.write(self._file, line[written:])
            os.fsync(self._file)
        self._size += len(line)
        self._verdicts[key] = kept

    def close(self) -> None:
        self._close.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _load(self) -> int:
        """Reads what is there; returns its length in bytes, without a torn last line."""
        data = self.path.read_bytes()
        size = data.rfind(b"\n") + 1
        for number, line in enumerate(data[:size].split(b"\n")[:-1], 1):
            try:
                entry = json.loads(line)
                key, verdict = entry["key"], entry["verdict"]
            except (ValueError, KeyError, TypeError) as error:
                raise JournalError(f"{self._damage(number)} ({error})") from error
            if not isinstance(key, str) or not isinstance(verdict, dict):
                raise JournalError(self._damage(number))
            self._verdicts[key] = verdict
        if size < len(data):
            os.ftruncate(self._file, size)
            os.fsync(self._file)
        return size

    def _damage(self, number: int) -> str:
        return (
            f"{self.path}, line {number}: not a journal entry. The file was damaged or changed; "
            "remove it to ask everything again"
        )


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = error.filename or path
        raise JournalError(
            f"cannot keep the journal {where}: {error.strerror or error}. Verdicts recorded so "
            "far are kept; make room or give another folder, and run again to resume"
        ) from error


def _lock(path: Path) -> int:
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(file, 32, 0).decode("ascii", "replace").strip()
        os.close(file)
        raise CaseInUse(
            f"another run{f' (process {holder})' if holder else ''} works on {path.parent}: "
            "wait for it, end it, or give another folder"
        ) from error
    except OSError:
        os.close(file)
        raise
    os.ftruncate(file, 0)
    os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
    return file


def _sync_folder(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
