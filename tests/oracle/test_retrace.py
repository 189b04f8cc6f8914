"""Transforms of `torch.func` come down to plain operators."""

import sys

import pytest
import torch

from torchcrux.oracle.retrace import has_transforms, trace
from torchcrux.program.serial import program_from_json

TEXT = """
import torch

OFFSET = torch.full((3,), 2.0)


def loss(x):
    return (torch.relu(x) * OFFSET).sum()


def f(x):
    return torch.func.grad(loss)(x)


x = torch.ones(3)
torch.compile(f, backend="eager")(x)
"""


@pytest.fixture
def traced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    return trace({"text": TEXT, "file": str(tmp_path / "constants.safetensors")})


def test_what_is_left_are_operators(traced):
    program = program_from_json(traced["program"])
    names = [node.target for node in program.calls]
    assert "torch.ops.aten.threshold_backward.default" in names
    assert not has_transforms(program)
    assert len(traced["inputs"]) == 1


def test_constants_are_inputs_with_their_values(traced, tmp_path):
    from safetensors.torch import load_file

    values = load_file(tmp_path / "constants.safetensors")
    inputs = [node.name for node in program_from_json(traced["program"]).inputs]
    assert set(traced["constants"]) == set(values) <= set(inputs)
    assert any(torch.equal(value, torch.full((3,), 2.0)) for value in values.values())


def test_torch_compile_is_itself_again(traced):
    assert torch.compile.__module__ == "torch"
