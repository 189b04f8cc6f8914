"""Eager that disagrees with itself is found out, and what does it is named."""

import sys

import pytest

from torchcrux.oracle.steadiness import run_again_and_again

TEXT = """
import torch
torch.manual_seed(0)
x = torch.ones(3)
_probe("x", x)
"""

STEADY = {
    "a seed": 'y = torch.rand(3) + x\n_probe("y", y)',
    "empty that is filled": 'e = torch.empty(3)\n_probe("e", e)\ny = e.copy_(x)\n_probe("y", y)',
    "nan": 'y = x / 0 - x / 0\n_probe("y", y)',
}
UNSTEADY = {
    "empty": ('e = torch.empty(3)\n_probe("e", e)\ny = e + x\n_probe("y", y)', "e", "memory"),
    "a method": ('e = x.new_empty(3)\n_probe("e", e)\ny = e + x\n_probe("y", y)', "e", "memory"),
    "no seed": (
        'torch.seed()\nr = torch.rand(3)\n_probe("r", r)\ny = r * x\n_probe("y", y)',
        "r",
        "each time",
    ),
}


@pytest.fixture
def asked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    return lambda text: run_again_and_again({"text": TEXT + text, "outputs": ["y"]})


@pytest.mark.parametrize("text", STEADY.values(), ids=STEADY)
def test_what_is_the_same_each_time(asked, text):
    assert asked(text) is None


@pytest.mark.parametrize(("text", "name", "why"), UNSTEADY.values(), ids=UNSTEADY)
def test_what_is_not_is_named(asked, text, name, why):
    found, reason = asked(text)
    assert found == name
    assert why in reason
