"""What is told of the values that eager computes."""

from __future__ import annotations

from torchcrux.oracle.facts import SMALL, observe

TEXT = f"""
import torch
large = torch.arange(float({SMALL} + 1))
large[3], large[5], large[7] = float("-inf"), float("nan"), float("-inf")
_probe("large", large)
_probe("whole", torch.arange({SMALL} + 1, dtype=torch.int32).to(torch.uint16))
_probe("small", large[:4])
_probe("complex", large + 1j)
"""


def test_large_tensors_are_sampled_and_small_ones_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = observe({"text": TEXT})
    assert found["error"] is None
    assert found["samples"] == {
        "large": ["-inf", "nan", float(SMALL), 0.0],
        "whole": [SMALL, 0],
        "complex": [],
    }
    assert found["elements"] == {"small": [0.0, 1.0, 2.0, "-inf"]}
