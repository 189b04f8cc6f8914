"""Eager as coarse as it may be: where PyTorch is allowed to compute products of float32 with fewer
bits (TF32 on CUDA, by default for convolutions), eager and a compiler need not choose alike.

So the error that counts as eager's own is that of a run with short operands, if it is the larger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch

from torchcrux import global_flags
from torchcrux.oracle._torch import dispatching

FRACTION = 23
"""Bits of a float32's fraction."""

_KINDS: Mapping[str, tuple[str, ...]] = {
    "conv": ("convolution", "conv1d", "conv2d", "conv3d", "conv_transpose"),
    "rnn": ("rnn", "rnn_layer", "lstm", "gru"),
    "matmul": ("mm", "addmm", "bmm", "baddbmm", "addbmm", "mv", "addmv", "dot", "linear"),
}
_ATTENTION = "scaled_dot_product"


def short_products(bits: Mapping[str, int]) -> AbstractContextManager[Any]:
    """Operands of products lose the bits that they may lose. `bits` are as of
    `global_flags.product_bits`."""

    def called(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        return func(*shortened(func, args), **kwargs)

    def shortened(func: Any, args: Sequence[Any]) -> Sequence[Any]:
        name = func.overloadpacket.__name__.strip("_").removesuffix("_backward")
        left = bits.get(_kind(name))
        if left is None:
            return args
        summand = "self" if name.startswith(("add", "badd")) else "bias"
        names = (argument.name for argument in func._schema.arguments)
        known = zip(names, args, strict=False)
        return [value if name == summand else _shortened(value, left) for name, value in known]

    return dispatching(called)


def coarse(run: Callable[[], Sequence[Any] | None], values: Iterable[Any]) -> Sequence[Any] | None:
    """What `run` returns with short products; None if all of its products must be long, where
    `values` lie, or if it raises."""
    devices = {
        value.device.type
        for value in values
        if isinstance(value, torch.Tensor) and value.dtype in (torch.float32, torch.complex64)
    }
    bits: dict[str, int] = {}
    for device in sorted(devices):
        bits |= global_flags.product_bits(device)
    if not bits:
        return None
    try:
        with short_products(bits):
            return run()
    except Exception:  # of an operator that has no such form: eager's error is what it was
        return None


def matters(eager: Sequence[Any], rough: Sequence[Any] | None) -> bool:
    """Whether short products, which led to `rough`, have changed anything."""
    return rough is not None and any(
        isinstance(one, torch.Tensor) and one.is_floating_point() and not _equal(one, two)
        for one, two in zip(eager, rough, strict=False)
    )


def _equal(one: torch.Tensor, two: torch.Tensor) -> bool:
    return one.layout is not torch.strided or torch.equal(one, two)


def _kind(name: str) -> str:
    if _ATTENTION in name:
        return "matmul"
    return next((kind for kind, names in _KINDS.items() if _names(names, name)), "")


def _names(names: Sequence[str], name: str) -> bool:
    return any(name == one or name.endswith(f"_{one}") for one in names)


def _shortened(value: Any, bits: int) -> Any:
    if isinstance(value, (tuple, list)):
        return [_shortened(one, bits) for one in value]
    if not isinstance(value, torch.Tensor) or value.dtype is not torch.float32:
        return value
    lost = FRACTION - bits
    whole = value.contiguous().view(torch.int32)
    return ((whole + (1 << (lost - 1))) >> lost << lost).view(torch.float32)
