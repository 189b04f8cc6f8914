"""How a callable is written in a script: its public dotted name.

PyTorch's functions do not know their public names (`F.linear` is a builtin of `torch._C._nn`), so
the names are found by identity: whatever a public namespace holds is spelled by that namespace.
"""

from __future__ import annotations

import builtins
import importlib
import math
import operator
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional

from torchcrux import _torch

_NAMESPACES = (
    "torch.nn.functional",
    "torch",
    "torch.special",
    "torch.linalg",
    "torch.fft",
    "torch.sparse",
    "torch.nested",
)


class Spelling:
    """A table of names, built once and shared by all graphs of a process."""

    def __init__(self) -> None:
        self._names: dict[int, tuple[Any, str]] = {}
        for function, name in _public_functions():
            self._names.setdefault(id(function), (function, name))

    def of(self, function: Any) -> str:
        """The dotted name that evaluates to `function` after ``import torch``.

        Raises LookupError, with what it is, if there is none.
        """
        known = self._names.get(id(function))
        if known is not None and known[0] is function:
            return known[1]
        name = _torch.operator_name(function)
        if name is None:
            name = _qualified(function)
        return name


def _public_functions() -> Iterator[tuple[Any, str]]:
    for space in _NAMESPACES:
        module = importlib.import_module(space)
        for name in sorted(vars(module)):
            value = getattr(module, name)
            if callable(value) and not name.startswith("_") and not isinstance(value, type):
                yield value, f"{space}.{name}"
    for module, prefix in ((operator, "operator"), (math, "math")):
        for name in sorted(vars(module)):
            value = getattr(module, name)
            if callable(value) and not name.startswith("_"):
                yield value, f"{prefix}.{name}"
    for name in ("getattr", "len", "max", "min", "abs", "round", "sum", "int", "float", "bool"):
        yield getattr(builtins, name), f"builtins.{name}"
    for name in dir(torch.Tensor):
        if not name.startswith("__"):
            yield getattr(torch.Tensor, name), f"torch.Tensor.{name}"


def _qualified(function: Any) -> str:
    module = getattr(function, "__module__", None) or ""
    name = getattr(function, "__qualname__", None) or getattr(function, "__name__", "")
    described = f"{module}.{name}".strip(".") or repr(function)
    if not module.startswith("torch") or "<" in name:
        raise LookupError(f"the function {described}, which PyTorch does not provide")
    value: Any = torch
    for part in f"{module}.{name}".split(".")[1:]:
        value = getattr(value, part, None)
    if value is not function:
        raise LookupError(f"the function {described}, which has no public name")
    return f"{module}.{name}"
