"""One process runs many scripts, each of which is ``__main__``."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from torchcrux.oracle.main_module import main_module


@pytest.fixture
def main(monkeypatch):
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


def test_what_is_inlined_from_a_script_sees_the_globals_of_that_script(main):
    for name in ("first", "second"):
        script = main_module(Path("repro.py"))
        exec(f"{name} = {len(name)}\ndef f(x): return x * {name}", script.__dict__)

        def caller(x, inner=script.f):
            return inner(x)

        compiled = torch.compile(caller, backend="eager", fullgraph=True)
        assert compiled(torch.ones(1)).item() == len(name)


def test_a_backend_may_be_registered_again(main):
    text = (
        "from torch._dynamo import register_backend\n@register_backend\ndef mine(gm, _): return gm"
    )
    for _ in range(2):
        exec(text, main_module(Path("repro.py")).__dict__)
        assert "mine" in torch.compiler.list_backends()
    main_module(Path("repro.py"))
    assert "mine" not in torch.compiler.list_backends()
