"""The last word: the repro in fresh interpreters that cannot import torchcrux."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torchcrux.oracle.failure import Failure, Kind
from torchcrux.oracle.printed import as_in_one_process, raised
from torchcrux.oracle.signature import normalised

_BLOCKED = 'raise ImportError("a repro runs without torchcrux")\n'


@dataclass(frozen=True, slots=True)
class Run:
    """How one fresh interpreter ended. `code` is negative for a signal, None for a time-out."""

    code: int | None
    stderr: str


def run_fresh(repro: Path, times: int, timeout: float, constants: Path | None = None) -> list[Run]:
    """Run `repro` `times` times at once, each with compiler caches of its own.

    They are empty, but for a copy of `constants`, if there is such a folder: what a compiler found
    out about the machine.
    """
    with tempfile.TemporaryDirectory(prefix="torchcrux-verify-") as scratch:
        started = []
        for i in range(times):
            if constants is not None and constants.exists():
                shutil.copytree(constants, Path(scratch) / str(i) / "cache")
            started.append(_start(repro, Path(scratch) / str(i)))
        return [_finish(process, timeout) for process in started]


def _start(repro: Path, scratch: Path) -> subprocess.Popen[str]:
    blocker = scratch / "blocked"
    blocker.mkdir(parents=True)
    (blocker / "torchcrux.py").write_text(_BLOCKED)
    environment = dict(os.environ)
    paths = [str(blocker), *filter(None, [environment.get("PYTHONPATH")])]
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    environment["TORCHINDUCTOR_CACHE_DIR"] = str(scratch / "cache")
    return subprocess.Popen(
        [sys.executable, str(repro)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=environment,
        start_new_session=True,
    )


def _finish(process: subprocess.Popen[str], timeout: float) -> Run:
    try:
        _, stderr = process.communicate(timeout=timeout)
        return Run(process.returncode, stderr)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        _, stderr = process.communicate()
        return Run(None, stderr)


def difference(failure: Failure, run: Run) -> str | None:
    """Why `run` did not fail as `failure` did; None if it did."""
    if run.code == 0:
        return "it ends with status 0: nothing fails"
    if run.code is None:
        return "it does not end in time"
    if failure.kind is Kind.CRASH:
        if failure.signal is not None and run.code == -failure.signal:
            return None
        if failure.signal is None and run.code == (failure.metric or {}).get("status"):
            return None
        return f"it ends with status {run.code}"
    if failure.kind is Kind.HANG:
        if re.search(r"^Timeout \(\d+:\d\d:\d\d", run.stderr, re.MULTILINE):
            return None
        return f"it ends with status {run.code}, and not because its time is up"
    found = raised(as_in_one_process(run.stderr))
    if found is None:
        return f"it ends with status {run.code} and without a traceback"
    outermost = failure.exceptions[0][0]
    if outermost.rpartition(".")[2] != found[0].rpartition(".")[2]:
        return f"it raises {found[0]} instead of {outermost}"
    if failure.kind is Kind.ACCURACY:
        return None
    want, have = _first_lines(failure.exceptions[0][1]), _first_lines(found[1])
    if want != have:
        return f"its message is {' '.join(have)!r} instead of {' '.join(want)!r}"
    return None


def _first_lines(message: str) -> Sequence[str]:
    lines = [line for line in message.splitlines() if line.strip()]
    return [word for line in lines[:2] for word in normalised(line)]
