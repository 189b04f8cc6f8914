"""What a reduction ends with is run in fresh interpreters three times elsewhere; here once."""

import pytest


@pytest.fixture(autouse=True)
def one_fresh_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchcrux.conclusion.FRESH_RUNS", 1)
