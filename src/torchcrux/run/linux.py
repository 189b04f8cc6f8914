"""What Linux offers to keep hold of processes: prctl, the OOM killer's score and its count."""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path

# linux/prctl.h
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

# Opened here, once for the server and all its children.
_LIBC = ctypes.CDLL(None, use_errno=True)


def die_with(parent: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Have this process get signal `number` when the thread that started it ends.

    `parent` is the process that should be the parent now: if it is not, it died before this call.
    """
    _prctl(PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os._exit(1)


def adopt_orphans() -> None:
    """Make this process the parent of descendants whose own parent dies."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def offer_to_the_oom_killer() -> None:
    """Make this process the first choice of the kernel when memory runs out."""
    Path("/proc/self/oom_score_adj").write_text("1000")


def oom_kills() -> int:
    """Processes that the kernel has killed for memory since it started (0 before Linux 4.13)."""
    for line in Path("/proc/vmstat").read_text().splitlines():
        if line.startswith("oom_kill "):
            return int(line.split()[1])
    return 0


def flush_c_streams() -> None:
    """``fflush(NULL)``: what C and C++ code printed and `os._exit` would throw away."""
    _LIBC.fflush(None)


def _prctl(option: int, value: int) -> None:
    # The kernel reads five longs, whatever the option.
    arguments = [ctypes.c_ulong(number) for number in (value, 0, 0, 0)]
    if _LIBC.prctl(option, *arguments) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"prctl({option}): {os.strerror(error)}")
