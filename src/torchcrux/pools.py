"""What is started for a case, mostly before it is known: a pool, with what its server imports and
what is kept between candidates, and the interpreters that verify."""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from torchcrux.capturing.standby import left_context
from torchcrux.case import Case
from torchcrux.oracle.cost import bound_of
from torchcrux.oracle.failure import Kind
from torchcrux.oracle.interpreters import Ahead
from torchcrux.oracle.verify import FRESH_RUNS
from torchcrux.passes import Draft
from torchcrux.program.context import Backend, Context
from torchcrux.run import Pool
from torchcrux.run.limits import available_memory
from torchcrux.torch_modules import EVERY_SCRIPT, WITH_INDUCTOR

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
INDUCTOR = ("torch._inductor.compile_fx", "torchcrux.processor._torch:probe_inductor")
WARM_INDUCTOR = "torchcrux.oracle._torch:compile_once_with_inductor"
PROBE_BESIDE = "torchcrux.processor._torch:probe_inductor_beside"
IMPORT_INDUCTOR = "torchcrux.oracle._torch:import_inductor"
COMPILE_FIRST = "torchcrux.oracle._torch:compile_first"

MEMORY_OF_A_START = 4 * 2**30
"""Bytes that must be left for a server beside the user's script; it takes half a GiB itself."""
MEMORY_OF_A_FRESH_RUN = 2**30

CACHE = "cache"
"""Folder of the compiler's cache, in the scratch of a reduction."""


def open_pool(jobs: int | None, case: Case, scratch: Path) -> Pool:
    """Start the server, under the case's environment; it imports torch while the caller goes on."""
    return Pool(
        jobs=jobs,
        preload=PRELOAD,
        env=_environment(jobs, scratch, _variables(case)),
        **_reuse(not _fails_once(case) and case.failure.kind is not Kind.MEMORY),
    )


def prepare(pool: Pool, case: Case) -> None:
    """Have the server import what the candidates of `case` need."""
    if _fails_once(case):
        return
    inductor = uses_inductor(case.context, case.failure.frames)
    if not _accelerated():
        pool.preload(_compiler(inductor))
    elif inductor:
        # One of the first questions is whether it fails on the CPU as well.
        pool.preload([PROBE_BESIDE])
        pool.ready_children(IMPORT_INDUCTOR)
    else:
        pool.ready_children(COMPILE_FIRST)


def constants(pool: Pool) -> Path:
    """What a compiler's cache may hold beforehand, being the same on all its machine's programs."""
    return Path(pool.env["TORCHINDUCTOR_CACHE_DIR"]).with_name("constants")


def imports(draft: Draft, ahead: Ahead) -> bool:
    """Whether the script of `draft` comes to import what those `ahead` have, before it sets
    anything that this may depend on."""
    context = draft.context
    if context.environment:
        return False
    return ahead.modules == EVERY_SCRIPT or (context.backend == Backend() and not context.config)


def _compiler(inductor: bool) -> list[str]:
    return [*INDUCTOR, WARM_INDUCTOR] if inductor else [WARM]


def _fails_once(case: Case) -> bool:
    """Whether what fails happens once in a process, and must happen in each child."""
    return any(frame.endswith(":lazy_init") for frame in case.failure.frames)


def _environment(
    jobs: int | None, scratch: Path, variables: Iterable[tuple[str, str]]
) -> dict[str, str]:
    cores = len(os.sched_getaffinity(0))
    return {
        **dict(variables),
        "TORCHINDUCTOR_CACHE_DIR": str(scratch / CACHE),
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
        "OMP_WAIT_POLICY": "passive",
        "OMP_NUM_THREADS": str(max(1, cores // (jobs or min(cores, 4)))),
    }


def _variables(case: Case) -> tuple[tuple[str, str], ...]:
    return case.context.environment if case.context is not None else ()


def uses_inductor(context: Context | None, frames: Iterable[str] = ()) -> bool:
    backend = context.backend if context else Backend()
    if any("vec_isa_ok" in line for line in (context.config if context else ())):
        return False  # the probe would find what these settings are to hide
    return (
        backend.name == "inductor"
        or "inductor" in backend.source
        or any(frame.startswith("torch/_inductor/") for frame in frames)
    )


@functools.cache
def _accelerated() -> bool:
    """Whether compiling anything at all initialises an accelerator (Dynamo keeps its random
    state), which takes seconds and which no forked child can use: the children do it, and stay.
    Importing Inductor asks its driver, after which no forked child can use it either.

    Told without importing torch, by what PyTorch was built for and which devices there are.
    """
    build = metadata.version("torch").partition("+")[2]
    if build == "cpu":
        return False
    names = ("dri",) if build == "xpu" else ("nvidiactl", "kfd", "dxg")
    return any(Path("/dev", name).exists() for name in names)


def _reuse(allowed: bool) -> dict[str, Any]:
    return {"reuse": allowed and _accelerated(), "between": "torchcrux.oracle._torch:keep_state"}


class Early:
    """What is started while the user's script still runs: a pool, and once the script has failed,
    the interpreters that verify.

    The server of the pool imports meanwhile what every case needs, and what the compiler needs that
    the `text` of the script lets expect; what another needs, once the script has compiled a graph
    with it.
    """

    def __init__(self, jobs: int | None, text: str = "") -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="torchcrux-")
        self._jobs = jobs
        self._seen = self._warm = False
        self._pool = self._start()
        self._ahead: Ahead | None = None
        # With that setting a probe would find what it is to hide; see uses_inductor.
        probed = "vec_isa_ok" not in text
        inductor = probed and ("inductor" in text or "backend" not in text)
        self._only_inductor = inductor
        self._warm = "torch.compile" in text and not _accelerated()
        if self._pool is not None and self._warm:
            self._pool.preload(_compiler(inductor))
        elif self._pool is not None and "torch.compile" in text and inductor:
            self._pool.preload([PROBE_BESIDE])
            self._pool.ready_children(IMPORT_INDUCTOR)

    def __enter__(self) -> Early:
        return self

    def __exit__(self, *_: object) -> None:
        if self._ahead is not None:
            self._ahead.close()
        if self._pool is not None:
            self._pool.close()
        self._scratch.cleanup()

    def _start(self) -> Pool | None:
        if available_memory() < MEMORY_OF_A_START:
            return None
        env = _environment(self._jobs, Path(self._scratch.name), ())
        return Pool(jobs=self._jobs, preload=PRELOAD, env=env, **_reuse(allowed=True))

    def watch(self, standby: Path) -> None:
        """To be called now and then while the script runs; `standby` is the folder it fills."""
        if self._seen or self._pool is None:
            return
        try:
            context, _ = left_context(standby, 1)
        except (OSError, ValueError):
            return  # there is no graph yet, or not in full
        self._seen = True
        inductor = uses_inductor(context)
        self._only_inductor = inductor and not context.config
        if not _accelerated():
            self._pool.preload(_compiler(inductor))

    def failed(self, case: Case | None) -> None:
        """To be called as soon as a script has failed, with the case if it is known. Takes no
        time."""
        if self._ahead is not None or self._pool is None:
            return
        if available_memory() < MEMORY_OF_A_START + FRESH_RUNS * MEMORY_OF_A_FRESH_RUN:
            return
        plain = self._only_inductor
        if case is not None and case.context is not None:
            plain = case.context.backend == Backend() and not case.context.config
        self._ahead = Ahead(
            EVERY_SCRIPT + (WITH_INDUCTOR if plain else ()),
            FRESH_RUNS,
            beside=max(1, len(os.sched_getaffinity(0)) - self._pool.jobs),
            constants=constants(self._pool),
        )

    def ahead(self, case: Case) -> Ahead | None:
        """Interpreters for `case`; none for one that is about what is spent."""
        self.failed(case)
        spends = case.failure.kind is Kind.HANG or bound_of(case.failure) is not None
        return None if spends or _fails_once(case) else self._ahead

    def fitting(self, case: Case) -> Pool | None:
        """The pool, if it is as `case` needs it, but for imports and environment variables."""
        if _fails_once(case) and (self._seen or self._warm or _accelerated()):
            return None
        if case.failure.kind is Kind.MEMORY and _accelerated():
            return None  # what a kept child has needed before would hide what it needs now
        return self._pool
