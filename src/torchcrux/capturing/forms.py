"""Tensors that are not plain: a dense tensor, and what a script does to it to get them.

Sparse, nested and quantized tensors are described, stored and made again by way of a dense one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from torchcrux.capturing import _torch
from torchcrux.capturing.subclasses import wrapped

_PLAIN = (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer)
_SPARSE = {torch.sparse_coo: "to_sparse", torch.sparse_csr: "to_sparse_csr"}


@dataclass(frozen=True, slots=True)
class Form:
    """`dense` holds the elements. `text` is an expression in which ``{}`` stands for it, `lengths`
    are the rows of it in each item of a nested tensor; where both are empty, the dense tensor is
    all. `lost` says what of the tensor that leaves out, if anything. With `parts` it is made of
    these, see `program.wrapping`."""

    dense: torch.Tensor
    text: str = ""
    lengths: tuple[int, ...] = ()
    lost: str = ""
    parts: Sequence[tuple[str, torch.Tensor]] = ()


def form_of(tensor: torch.Tensor) -> Form:
    """How to get `tensor`, real or fake, from a dense one."""
    if _torch.is_inside_a_transform(tensor):
        dense = torch.empty(_sizes(tensor), dtype=tensor.dtype, device="cpu")
        return Form(dense, lost="a tensor inside of a transform of torch.func")
    if tensor.is_quantized:
        return _quantized(tensor)
    if tensor.is_nested:
        return _nested(tensor)
    if tensor.layout in _SPARSE:
        dense = torch.empty(_sizes(tensor), dtype=tensor.dtype, device=tensor.device)
        if not is_fake(tensor):
            dense = tensor.detach().to_dense()
        return Form(dense, f"{{}}.{_SPARSE[tensor.layout]}()")
    if tensor.layout is not torch.strided:
        dense = torch.empty(_sizes(tensor), dtype=tensor.dtype, device="cpu")
        return Form(dense, lost=f"a {tensor.layout} tensor")
    try:
        whole = wrapped(tensor)
    except LookupError as reason:
        return Form(tensor, lost=str(reason.args[0]))
    if whole is not None:
        return Form(tensor, whole.form, parts=whole.parts)
    if tensor.__class__ not in _PLAIN and not is_fake(tensor):
        return Form(tensor, lost=f"a tensor of class {tensor.__class__.__name__}")
    return Form(tensor)


def is_fake(tensor: torch.Tensor) -> bool:
    return hasattr(tensor, "fake_mode") or tensor.device.type == "meta"


def hint(size: Any) -> Any:
    """The number a symbolic number stands for in the run that was traced."""
    if isinstance(size, (torch.SymInt, torch.SymFloat, torch.SymBool)):
        known = getattr(size.node, "hint", None)
        return known if isinstance(known, (int, float)) else 2  # a ragged dimension has no length
    return size


def _sizes(tensor: torch.Tensor) -> list[int]:
    return [hint(size) for size in tensor.shape]


def _quantized(tensor: torch.Tensor) -> Form:
    if is_fake(tensor) or tensor.qscheme() is not torch.per_tensor_affine:
        return Form(
            torch.empty(_sizes(tensor), dtype=torch.float32, device="cpu"),
            lost="a quantized tensor",
        )
    scale, zero = tensor.q_scale(), tensor.q_zero_point()
    made = f"torch.quantize_per_tensor({{}}, {scale!r}, {zero}, {tensor.dtype})"
    return Form(tensor.detach().dequantize(), made)


def _nested(tensor: torch.Tensor) -> Form:
    if tensor.layout is not torch.jagged:
        parts = [part.reshape(-1) for part in tensor.detach().unbind()]
        return Form(torch.cat(parts), lost="a nested tensor of strided layout")
    jagged: Any = tensor
    values, offsets = jagged.values(), jagged.offsets()
    if is_fake(values) or is_fake(offsets):
        return Form(values, lost="a nested tensor whose lengths are not known")
    lengths = tuple((offsets[1:] - offsets[:-1]).tolist())
    if jagged.lengths() is not None or sum(lengths) != len(values):
        return Form(values.detach(), lost="a nested tensor with holes")
    return Form(values.detach(), lengths=lengths)
