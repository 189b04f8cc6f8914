"""How a compiler works in a child: in no other's way, and on the cores that nobody else uses.

What it makes depends on how many threads are to share the work, and so does whether that crashes or
is wrong: there are as many as in a fresh interpreter, and they do not spin while they wait.

Inductor locks a piece of C++ for as long as it compiles it. Candidates mostly share the kernel that
matters: in one cache they would wait for each other, and where it does not compile at all, each
would try in its turn. So a child has a cache of its own, of links to the files of all before it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from torchcrux.run import processes

CACHE_DIR = "TORCHINDUCTOR_CACHE_DIR"
_OWN = frozenset({"locks", "fxgraph", "aotautograd"})
"""Folders that are not shared. Whole graphs are found again by a key that not all that matters is
part of (which inputs lie in the same memory, say): what was asked before would hide a failure."""


@contextmanager
def own_compiler(threads: int = 1) -> Iterator[None]:
    """Inductor's cache is a folder in the current one until the context ends, and up to `threads`
    C++ compilers run at once, for code that is run by as many threads as there are cores. Where
    there is an accelerator the cache is that of all, but for whole graphs: a child stays there for
    further tasks, and what it has loaded from the cache with it."""
    import torch

    from torchcrux.oracle._torch import compile_side_by_side, look_up_no_graphs
    from torchcrux.processor._torch import look_up_instruction_sets

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    shared = os.environ.get(CACHE_DIR)
    if shared is None:
        yield
        return
    if torch.accelerator.is_available():
        look_up_no_graphs()
        look_up_instruction_sets(Path(shared))
        yield
        return
    compile_side_by_side(threads)
    with own_cache(Path.cwd() / "cache"):
        yield


@contextmanager
def own_cache(own: Path) -> Iterator[None]:
    """Inductor's cache is `own`, with what its cache has but for whole graphs, which gets what is
    new."""
    shared = os.environ[CACHE_DIR]
    link_all(Path(shared), own)
    os.environ[CACHE_DIR] = str(own)
    try:
        yield
    finally:
        os.environ[CACHE_DIR] = shared
        link_all(own, Path(shared), settled=True)


def tests_of_instructions(cache: Path) -> Path:
    """The file beside a compiler's cache that tells which vector instructions were found to work;
    not there before that is known."""
    return cache.with_name("instruction-sets.json")


def link_all(source: Path, target: Path, settled: bool = False) -> None:
    """Have the files of `source` in `target` as well. With `settled` they are left alone if a
    descendant of this process is at work, which may not have written them to the end."""
    names = [
        Path(folder, name).relative_to(source)
        for folder, _, names in os.walk(source)
        for name in names
        if _OWN.isdisjoint(Path(folder).relative_to(source).parts)
    ]
    if settled and any(not processes.is_dead(pid) for pid in processes.descendants(os.getpid())):
        return
    for name in names:
        with suppress(OSError):  # it is there already, or the disk has no links: less is shared
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            os.link(source / name, target / name)
