"""What is wrong on our side is counted, shown, and never taken for an answer of the compiler."""

from __future__ import annotations

import pytest
import torch

import torchcrux
from torchcrux.oracle import oracle

pytestmark = pytest.mark.real


@pytest.fixture
def case():
    def f(x):
        for _ in range(4):
            x = torch.sin(x)
        x = torch.relu(x)
        for _ in range(4):
            x = torch.cos(x)
        return x

    compiled = torch.compile(f, backend="torchcrux_relu_compile_error")
    return torchcrux.capture(compiled, torch.randn(4, 4))


def reduce_with_a_printer_that_breaks(case, out, monkeypatch, breaks):
    for module in ("conclusion", "confirmation"):
        monkeypatch.setattr(f"torchcrux.{module}.FRESH_RUNS", 1)
    printed = oracle.script

    def script(program, context, **names):
        if breaks(program):
            raise ZeroDivisionError("a fault of the printer")
        return printed(program, context, **names)

    monkeypatch.setattr(oracle, "script", script)
    return torchcrux.reduce(case, out=out)


def test_a_run_with_many_faults_of_ours_says_so(case, tmp_path, monkeypatch):
    result = reduce_with_a_printer_that_breaks(
        case, tmp_path / "out", monkeypatch, lambda program: program.operations < 9
    )
    assert result.status == "not_reproduced"
    assert "questions failed on our side" in result.message
    assert "a fault of the printer" in result.message


def test_a_few_do_not_spoil_the_result(case, tmp_path, monkeypatch):
    faults = iter([True, True])
    result = reduce_with_a_printer_that_breaks(
        case, tmp_path / "out", monkeypatch, lambda program: next(faults, False)
    )
    assert result.status == "reduced"
    assert result.verified_runs == 1
    assert (result.broken, result.minimal) == (2, False)
    assert result.message.startswith(
        "It is not shown to be minimal: 2 questions failed on our side"
    )
    assert "a fault of the printer" in result.message
