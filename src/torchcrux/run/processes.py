"""Other processes, by /proc: who descends from whom, what they hold, and how to end them all.

Every function takes processes that may vanish at any moment; a vanished one counts as nothing.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

GONE = (FileNotFoundError, ProcessLookupError)
_PAGE = os.sysconf("SC_PAGE_SIZE")


def children(pid: int) -> list[int]:
    """The processes whose parent is `pid`, zombies among them."""
    if not _kernel_lists_children():
        return [child for child, parent in _parents() if parent == pid]
    found = []
    with contextlib.suppress(*GONE):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(*GONE):
                found += _read(f"{thread}/children").split()
    return [int(child) for child in found]


def descendants(pid: int) -> list[int]:
    """All processes below `pid`, zombies among them, without `pid`."""
    found: list[int] = []
    level = children(pid)
    while level:
        found += level
        level = [child for parent in level for child in children(parent)]
    return found


def resident(pid: int) -> int:
    """Bytes in memory; pages that are shared with other processes count in full. A zombie has 0."""
    with contextlib.suppress(*GONE):
        return int(_read(f"/proc/{pid}/statm").split()[1]) * _PAGE
    return 0


def proportional(pid: int) -> int:
    """Bytes in memory, each page divided by the number of processes that share it.

    Slow for a large process (the kernel walks its page tables).
    """
    try:
        for line in _read(f"/proc/{pid}/smaps_rollup").splitlines():
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
    except PermissionError:
        return resident(pid)
    except GONE:
        return 0
    return 0


def peak(pid: int) -> int | None:
    """Bytes at the highest, since the process started or `forget_peak`."""
    with contextlib.suppress(*GONE):
        for line in _read(f"/proc/{pid}/status").splitlines():
            if line.startswith(b"VmHWM:"):
                return int(line.split()[1]) * 1024
    return None


def forget_peak(pid: int) -> None:
    """Let `peak` start again from what the process holds now."""
    with contextlib.suppress(*GONE):
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def queued(pid: int) -> dict[int, float]:
    """Seconds for which each thread of `pid` and of its descendants was ready to run and had no
    core. Empty where the kernel does not count them (CONFIG_SCHED_INFO)."""
    found = {}
    for process in (pid, *descendants(pid)):
        with contextlib.suppress(*GONE):
            for thread in Path(f"/proc/{process}/task").iterdir():
                with contextlib.suppress(*GONE):
                    found[int(thread.name)] = int(_read(f"{thread}/schedstat").split()[1]) / 1e9
    return found


def is_at_work_below(pid: int) -> bool:
    """Whether a descendant of `pid` runs, or waits for a disk, just now."""
    for process in descendants(pid):
        with contextlib.suppress(*GONE):
            if _state_and_parent(process)[0] in (b"R", b"D"):
                return True
    return False


def with_descendants(pids: Iterable[int]) -> list[int]:
    return [found for pid in pids for found in (pid, *descendants(pid))]


def is_dead(pid: int) -> bool:
    """Gone, or a zombie that nobody has waited for yet."""
    try:
        return _state_and_parent(pid)[0] in (b"Z", b"X")
    except GONE:
        return True


def kill(pids: Iterable[int]) -> None:
    """Kill these and their process groups, except the group of the caller.

    A group is killed in one stroke by the kernel, so it cannot outrun us by forking.
    """
    ours = os.getpgrp()
    pids = list(pids)
    groups = set()
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            groups.add(os.getpgid(pid))
    for group in groups - {ours}:
        kill_group(group)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def kill_marked(mark: str, *, patience: float = 5.0) -> None:
    """Kill every process that was started with `mark` in its environment, until none is left.

    For those whose ancestors died too fast to be followed. `patience` is in seconds.
    """
    until = time.monotonic() + patience
    while found := [pid for pid in _all() if pid != os.getpid() and _has(mark, pid)]:
        kill(found)
        if time.monotonic() > until:
            break
        time.sleep(0.01)


def _has(mark: str, pid: int) -> bool:
    # A process of another user is not ours; a zombie has no environment.
    with contextlib.suppress(*GONE, PermissionError):
        return mark.encode() in _read(f"/proc/{pid}/environ").split(b"\0")
    return False


def _all() -> Iterator[int]:
    return (int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal())


def _parents() -> Iterator[tuple[int, int]]:
    for pid in _all():
        with contextlib.suppress(*GONE):
            yield pid, _state_and_parent(pid)[1]


def _state_and_parent(pid: int) -> tuple[bytes, int]:
    # The name stands in parentheses and may hold spaces and parentheses itself.
    fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return fields[0], int(fields[1])


def _read(path: str) -> bytes:
    return Path(path).read_bytes()


@functools.cache
def _kernel_lists_children() -> bool:
    """Whether the kernel has CONFIG_PROC_CHILDREN. Without it all of /proc must be read."""
    pid = os.getpid()
    return Path(f"/proc/{pid}/task/{pid}/children").exists()
