"""Tensors go to a safetensors file as the library would write them, without copies of them all."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.utils._python_dispatch import TorchDispatchMode

from torchcrux import tensorfile
from torchcrux.tensorfile import save, storable

BASE = torch.arange(24.0).reshape(4, 6)
TENSORS = {
    "b": torch.tensor([True, False, True]),
    "transposed": BASE.t(),
    "row": BASE[1],
    "same row": BASE[1],
    "gradient": torch.nn.Parameter(torch.ones(3)),
    "conjugated": torch.tensor([1 + 2j, 3j]).conj(),
    "negative": torch.tensor([1 + 2j, 3j]).conj().imag,
    "expanded": torch.ones(1, 2).expand(3, 2),
    "half": torch.tensor(1.5, dtype=torch.bfloat16),
    "empty": torch.empty(0, 3, dtype=torch.int64),
}


def test_what_is_written_is_read(tmp_path):
    save(tmp_path / "t.safetensors", TENSORS)
    read = load_file(tmp_path / "t.safetensors")
    assert read.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        expected = tensor.detach().resolve_conj().resolve_neg()
        torch.testing.assert_close(read[name], expected, rtol=0, atol=0)


def test_no_tensors_are_a_file_too(tmp_path):
    save(tmp_path / "t.safetensors", {})
    assert load_file(tmp_path / "t.safetensors") == {}


@pytest.mark.parametrize("dtype", storable(), ids=str)
def test_each_dtype_is_written_as_the_library_does(tmp_path, dtype):
    tensor = torch.tensor([0, 1, 2, 3], dtype=torch.uint8).repeat(8).view(dtype)
    save(tmp_path / "ours.safetensors", {"x": tensor})
    save_file({"x": tensor}, tmp_path / "theirs.safetensors")
    ours, theirs = (load_file(tmp_path / f"{who}.safetensors")["x"] for who in ("ours", "theirs"))
    assert ours.dtype is theirs.dtype is dtype
    assert torch.equal(ours.view(torch.uint8), theirs.view(torch.uint8))


class Copies(TorchDispatchMode):
    """Counts the elements of what is newly made."""

    def __init__(self):
        super().__init__()
        self.made = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.data_ptr() != args[0].data_ptr():
            self.made += result.numel()
        return result


def test_what_lies_dense_on_the_cpu_is_not_copied(tmp_path, monkeypatch):
    monkeypatch.setattr(tensorfile, "_LARGEST_WRITE", 64)
    whole = torch.nn.Parameter(torch.rand(100))
    with Copies() as copies:
        save(tmp_path / "t.safetensors", {"whole": whole, "again": whole})
    assert copies.made == 0
    assert torch.equal(load_file(tmp_path / "t.safetensors")["again"], whole)
