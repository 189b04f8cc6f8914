"""Which pool a case needs: what its server imports, and what is kept between candidates."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from torchcrux.case import Case
from torchcrux.emit.inputs import tensors
from torchcrux.oracle.failure import Kind
from torchcrux.program.context import Backend, Context
from torchcrux.program.ir import Program
from torchcrux.run import Pool

PRELOAD = (
    "torch",
    "torch._dynamo",
    "torchcrux.oracle.judge",
    "torchcrux.oracle.deadly",
    "torchcrux.oracle.facts",
    "torchcrux.oracle.trial",
    "torchcrux.oracle.data",
)
WARM = "torchcrux.oracle._torch:compile_once"
INDUCTOR = ("torch._inductor.compile_fx", "torchcrux.oracle._torch:prepare_inductor")
CACHE = "cache"
"""Folder of the compiler's cache, in the scratch of a reduction."""


def open_pool(jobs: int | None, case: Case, scratch: Path) -> Pool:
    """Start the server, under the case's environment; it imports torch while the caller goes on."""
    return Pool(
        jobs=jobs,
        preload=PRELOAD,
        env=_environment(jobs, scratch, _variables(case), least_threads=_least_threads(case)),
        reuse=_on_accelerator(case.program),
    )


def prepare(pool: Pool, case: Case) -> None:
    """Have the server import what the candidates of `case` need."""
    if not _on_accelerator(case.program):  # a compilation may initialise the accelerator
        pool.preload(_compiler(case))


def constants(pool: Pool) -> Path:
    """What a compiler's cache may hold beforehand, being the same on all its machine's programs."""
    return Path(pool.env["TORCHINDUCTOR_CACHE_DIR"]).with_name("constants")


def _compiler(case: Case) -> list[str]:
    frames = case.failure.frames
    if any(frame.endswith(":lazy_init") for frame in frames):
        return []  # what fails happens once in a process, and must happen in each child
    if uses_inductor(case.context, frames):
        return [*INDUCTOR]
    return [WARM]


def _environment(
    jobs: int | None, scratch: Path, variables: Iterable[tuple[str, str]], least_threads: int = 1
) -> dict[str, str]:
    cores = len(os.sched_getaffinity(0))
    return {
        **dict(variables),
        "TORCHINDUCTOR_CACHE_DIR": str(scratch / CACHE),
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
        "OMP_NUM_THREADS": str(max(least_threads, cores // (jobs or min(cores, 4)))),
    }


def _variables(case: Case) -> tuple[tuple[str, str], ...]:
    return case.context.environment if case.context is not None else ()


def _least_threads(case: Case) -> int:
    """With a single thread, compiled code has no parallel regions to crash in."""
    return 2 if case.failure.kind is Kind.CRASH else 1


def uses_inductor(context: Context | None, frames: Iterable[str] = ()) -> bool:
    backend = context.backend if context else Backend()
    if any("vec_isa_ok" in line for line in (context.config if context else ())):
        return False  # the probe would find what these settings are to hide
    return (
        backend.name == "inductor"
        or "inductor" in backend.source
        or any(frame.startswith("torch/_inductor/") for frame in frames)
    )


def _on_accelerator(program: Program | None) -> bool:
    nodes = () if program is None else program.nodes
    return any(spec.device != "cpu" for node in nodes for spec in tensors(node.spec))
