"""Tensors written to a safetensors file one after the other.

The library's own function wants all of them at once, on the CPU, dense, and none of them sharing
memory with another: for a model that barely fits these copies are what no longer fits. Here a
tensor that is dense on the CPU already is written from where it lies; of the others one copy is
held at a time.
"""

from __future__ import annotations

import ctypes
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

_LARGEST_WRITE = 2**28


def storable() -> dict[torch.dtype, str]:
    """The names of the format for the dtypes that it has a place for, a byte or more an element."""
    import safetensors.torch

    types = safetensors.torch._TYPES
    return {dtype: name for name, dtype in types.items() if dtype and "float4" not in str(dtype)}


def save(file: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write `tensors`, strided ones of dtypes in `storable`, row-major."""
    names = storable()
    # What needs the strictest alignment comes first, as the library has it.
    ordered = sorted(tensors.items(), key=lambda pair: (-pair[1].element_size(), pair[0]))
    header, end = {}, 0
    for name, tensor in ordered:
        start, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": names[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as opened:
        opened.write(len(text).to_bytes(8, "little") + text)
        for _, tensor in ordered:
            for piece in _bytes(tensor):
                opened.write(piece)


def _bytes(tensor: torch.Tensor) -> Iterator[memoryview]:
    """The elements as they lie in a file; the pieces are valid until the next is asked for."""
    dense = tensor.detach().to("cpu").resolve_conj().resolve_neg().contiguous()
    size = dense.numel() * dense.element_size()
    for start in range(0, size, _LARGEST_WRITE):
        length = min(_LARGEST_WRITE, size - start)
        yield memoryview((ctypes.c_char * length).from_address(dense.data_ptr() + start))
