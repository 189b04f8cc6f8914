"""How much of the machine may be used."""

from __future__ import annotations

import os
from pathlib import Path

MEMORY_OF_A_JOB = 3 * 2**29
"""1.5 GiB: what a child that compiles a small graph with a C++ compiler needs."""

MOST_JOBS = 8


def default_jobs() -> int:
    """Children at the same time, by the cores this process may use and the memory left."""
    cores = len(os.sched_getaffinity(0))
    return max(1, min(cores, available_memory() // MEMORY_OF_A_JOB, MOST_JOBS))


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
