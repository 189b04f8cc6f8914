"""How much of the machine may be used."""

from __future__ import annotations

import os
from pathlib import Path

MEMORY_OF_A_JOB = 3 * 2**29
"""1.5 GiB: what a child that compiles a small graph with a C++ compiler needs."""

MOST_JOBS = 8


MEMORY_TO_COMPILE = 2**30
"""What compiling takes beyond what running in eager does."""

MEMORY_OF_TORCH = 2**29
"""What of a child's memory has nothing to do with its program."""


def default_jobs(peak: int = 0, times: int = 1) -> int:
    """Children at the same time, by the cores this process may use and the memory left.

    `peak` are the bytes that a child with the largest program needed to run it in eager, `times`
    how often that much is held at the same time by a candidate.
    """
    cores = len(os.sched_getaffinity(0))
    values = times * max(0, peak - MEMORY_OF_TORCH)
    needed = max(MEMORY_OF_A_JOB, MEMORY_OF_TORCH + values + MEMORY_TO_COMPILE)
    return max(1, min(cores, available_memory() // needed, MOST_JOBS))


def available_memory() -> int:
    """Bytes that can be had without swapping, on the machine and in the container."""
    available = [_field(Path("/proc/meminfo"), "MemAvailable:") * 1024]
    group = Path("/sys/fs/cgroup")
    for limit, used, reclaimable in (
        (group / "memory.max", group / "memory.current", "inactive_file"),
        (
            group / "memory/memory.limit_in_bytes",
            group / "memory/memory.usage_in_bytes",
            "total_inactive_file",
        ),
    ):
        if limit.exists() and used.exists() and (most := limit.read_text().strip()) != "max":
            held = int(used.read_text()) - _field(used.with_name("memory.stat"), reclaimable)
            available.append(max(0, int(most) - held))
    return min(available)


def _field(table: Path, name: str) -> int:
    for line in table.read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    raise OSError(f"{table} has no line {name}")
