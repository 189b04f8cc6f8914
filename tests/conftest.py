"""Several processes of torch share a few cores here: threads that wait for work give theirs away."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from warm_start import warm_scripts

os.environ.setdefault("OMP_WAIT_POLICY", "passive")


@pytest.fixture(scope="session")
def _warm() -> Iterator[object]:
    with warm_scripts() as use:
        yield use


@pytest.fixture(scope="module")
def warm_start(_warm: object) -> Iterator[None]:
    """Watched scripts start from a process that has imported torch."""
    with pytest.MonkeyPatch.context() as patch:
        _warm(patch)
        yield
