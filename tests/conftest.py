"""Several processes of torch share a few cores here: threads that wait for work give theirs away,
and what takes seconds to start is started once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from command_kit import run_here as command_here
from torchcrux.pools import open_pool, uses_inductor
from warm_start import warm_scripts

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
JOBS = 2


@pytest.fixture(scope="session")
def pool_for(tmp_path_factory):
    """The pool for a case: one of two, by what its server imports."""
    pools = {}
    with ExitStack() as stack:

        def pool(case):
            kind = uses_inductor(case.context, case.failure.frames)
            if kind not in pools:
                opened = open_pool(JOBS, case, tmp_path_factory.mktemp("scratch"))
                pools[kind] = stack.enter_context(opened)
            pools[kind].jobs = JOBS
            return pools[kind]

        yield pool


@pytest.fixture(scope="session")
def _warm() -> Iterator[object]:
    with warm_scripts() as use:
        yield use


@pytest.fixture(scope="module")
def warm_start(_warm) -> Iterator[None]:
    """Watched scripts start from a process that has imported torch."""
    with pytest.MonkeyPatch.context() as patch:
        _warm(patch)
        yield


@pytest.fixture
def run_here(pool_for, warm_start):
    """Runs a command in a folder: its status and what it has printed."""

    def run(folder, *args):
        return command_here(folder, args, pool_for)

    return run
