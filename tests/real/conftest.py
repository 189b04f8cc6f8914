"""From the text of a script to a result, with servers that the tests of a file share."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from torchcrux.capturing.script import run_script
from torchcrux.pools import open_pool, uses_inductor
from torchcrux.session import Options, reduce_case


@pytest.fixture(scope="module")
def pool_for(tmp_path_factory):
    """The pool for a case: one of two, by what its server imports."""
    pools = {}
    with ExitStack() as stack:

        def pool(case):
            assert not case.context.environment, "such a case needs a server of its own"
            kind = uses_inductor(case.context, case.failure.frames)
            if kind not in pools:
                opened = open_pool(2, case, tmp_path_factory.mktemp("scratch"))
                pools[kind] = stack.enter_context(opened)
            return pools[kind]

        yield pool


@pytest.fixture
def reduced(tmp_path, pool_for, warm_start, monkeypatch):
    """Runs a script, reduces what fails in it, and returns both; one fresh interpreter verifies."""
    monkeypatch.setattr("torchcrux.conclusion.FRESH_RUNS", 1)

    def reduced(text, check="error", options=None):
        path = tmp_path / "script.py"
        path.write_text(text)
        caught = run_script(str(path), (), check=check, folder=tmp_path / "caught")
        assert caught.case is not None, caught.message
        pool = pool_for(caught.case)
        return caught.case, reduce_case(caught.case, tmp_path / "out", options or Options(), pool)

    return reduced
