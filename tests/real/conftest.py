"""From the text of a script to a result, with servers that all tests share."""

from __future__ import annotations

import pytest

from torchcrux.capturing.script import run_script
from torchcrux.session import Options, reduce_case


@pytest.fixture
def reduced(tmp_path, pool_for, warm_start, monkeypatch):
    """Runs a script, reduces what fails in it, and returns both; one fresh interpreter verifies."""
    monkeypatch.setattr("torchcrux.conclusion.FRESH_RUNS", 1)

    def reduced(text, check="error", options=None):
        path = tmp_path / "script.py"
        path.write_text(text)
        caught = run_script(str(path), (), check=check, folder=tmp_path / "caught")
        assert caught.case is not None, caught.message
        assert not caught.case.context.environment, "such a case needs a server of its own"
        pool = pool_for(caught.case)
        return caught.case, reduce_case(caught.case, tmp_path / "out", options or Options(), pool)

    return reduced
