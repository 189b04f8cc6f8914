"""The switches of `torch.backends` that decide which kernels compute, and how precisely.

They are global and have no context manager that holds for all of them: a script sets them, a repro
sets them again, and a child that stays puts them back.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch

from torchcrux import _torch

SWITCHES = {
    "torch.backends.cudnn.enabled": True,
    "torch.backends.cudnn.benchmark": False,
    "torch.backends.cudnn.deterministic": False,
    "torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction": True,
    "torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction": True,
    "torch.backends.mkldnn.enabled": True,
    "torch.backends.mkldnn.deterministic": False,
}
"""What can be assigned, and its default."""

ATTENTION = ("flash", "mem_efficient", "math", "cudnn")
"""Kernels of scaled_dot_product_attention; all are on by default."""

_PARENTS = ("fp32_precision", "cudnn.fp32_precision", "mkldnn.fp32_precision")
"""Attributes of `torch.backends` that decide where a precision is ``none``, outermost first."""

PRECISIONS = {
    "cuda.matmul": "none",
    "cudnn.conv": "tf32",
    "cudnn.rnn": "tf32",
    "mkldnn.matmul": "none",
    "mkldnn.conv": "none",
    "mkldnn.rnn": "none",
}
"""``torch.backends.NAME.fp32_precision``, torch 2.9 and newer."""

_BEYOND_OLDER = ("mkldnn.conv", "mkldnn.rnn")
"""Those of which the older settings know nothing."""

_BITS = {"tf32": 10, "bf16": 7}


def statements() -> list[str]:
    """Assignments and calls that bring back what differs from the defaults."""
    lines = [
        f"{name} = {_value(name)}" for name, usual in SWITCHES.items() if _value(name) != usual
    ]
    lines += [
        f"torch.backends.cuda.enable_{name}_sdp(False)"
        for name in ATTENTION
        if not getattr(torch.backends.cuda, f"{name}_sdp_enabled")()
    ]
    older = _older_precisions()
    names = PRECISIONS if older is None else _BEYOND_OLDER
    lines += [
        f'torch.backends.{name}.fp32_precision = "{precision(name)}"'
        for name in names
        if precision(name) != PRECISIONS[name]
    ]
    if older is None:
        return lines
    matmul, convolution = older
    if matmul != "highest":
        lines.append(f'torch.set_float32_matmul_precision("{matmul}")')
    if not convolution:
        lines.append("torch.backends.cudnn.allow_tf32 = False")
    return lines


def _older_precisions() -> tuple[str, bool] | None:
    """Of products of matrices, and whether convolutions may use TF32; None if a script has used the
    newer settings in a way that the older ones cannot express."""
    try:
        return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    except RuntimeError:
        return None


def precision(name: str) -> str:
    """``none``, ``ieee``, ``tf32`` or ``bf16``; `name` is a key of `PRECISIONS`."""
    try:
        return str(_value(f"torch.backends.{name}.fp32_precision"))
    except (AttributeError, RuntimeError):
        return PRECISIONS[name]


def product_bits(device: str) -> dict[str, int]:
    """For ``matmul``, ``conv`` and ``rnn`` the bits of a float32's fraction that products on a
    device of this type may be computed with, where these are fewer than all 23."""
    libraries = {"matmul": "cuda", "conv": "cudnn", "rnn": "cudnn"}
    names = {
        kind: f"{library if device == 'cuda' else 'mkldnn'}.{kind}"
        for kind, library in libraries.items()
    }
    found = {kind: _BITS.get(precision(name)) for kind, name in names.items()}
    return {kind: bits for kind, bits in found.items() if bits is not None}


def kept() -> Callable[[], None]:
    """The switches as they are now: what is returned puts them back."""
    values = {name: _value(name) for name in SWITCHES}
    kernels = {name: getattr(torch.backends.cuda, f"{name}_sdp_enabled")() for name in ATTENTION}
    older = _older_precisions()
    names = [*_PARENTS, *(f"{name}.fp32_precision" for name in PRECISIONS)]
    precisions = {f"torch.backends.{name}": _value(f"torch.backends.{name}") for name in names}

    def put_back() -> None:
        with _torch.settable_flags():
            for name, value in values.items():
                if _value(name) != value:
                    _assign(name, value)
            for name, value in kernels.items():
                getattr(torch.backends.cuda, f"enable_{name}_sdp")(value)
            if older is not None:
                torch.set_float32_matmul_precision(older[0])
                torch.backends.cudnn.allow_tf32 = older[1]
            for name, value in precisions.items():
                _assign(name, value)

    return put_back


def _value(name: str) -> Any:
    return operator.attrgetter(name.removeprefix("torch."))(torch)


def _assign(name: str, value: Any) -> None:
    owner, _, attribute = name.rpartition(".")
    setattr(_value(owner), attribute, value)
