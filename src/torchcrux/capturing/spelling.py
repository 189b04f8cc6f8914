"""How a callable is written in a script: its public dotted name.

PyTorch's functions do not know their public names (`F.linear` is a builtin of `torch._C._nn`), so
the names are found by identity: whatever a public namespace holds is spelled by that namespace.
"""

from __future__ import annotations

import builtins
import importlib
import math
import operator
from collections.abc import Iterable, Iterator
from typing import Any

import torch
import torch.nn.functional

from torchcrux import _torch
from torchcrux.capturing.operators import Operators

_NAMESPACES = (
    "torch.nn.functional",
    "torch",
    "torch.special",
    "torch.linalg",
    "torch.fft",
    "torch.sparse",
    "torch.nested",
)


_PRIVATE = ("torch", "torch._C._nn", "torch._C._autograd", "torch._C._functorch", "torch._C")
"""Where functions are that Dynamo leaves in graphs and that have no public name."""

_PUBLIC = {"torch._C._nn.pad": "torch.nn.functional.pad"}
"""What a public function in Python comes down to, with the same arguments."""

ATTRIBUTES = {"torch._C._autograd._get_data_attr": "data"}
"""Functions that read an attribute of a tensor, which is how a user writes them."""

_OPERATORS = frozenset(
    [
        *("aten", "prim", "prims", "higher_order", "inductor", "quantized", "mkldnn"),
        *("quantized_decomposed", "mkldnn_prepacked", "onednn", "mkl", "sparse", "rngprims"),
        *("_quantized", "xnnpack", "c10d", "c10d_functional", "_c10d_functional", "symm_mem"),
        *("_c10d_functional_autograd", "fsdp", "streams", "debugprims", "profiler", "cuda"),
        *("_dtensor", "static_runtime", "inductor_prims", "_native", "quantization", "export"),
        *("debug_mode_ops", "flex_lib", "onnx", "onnx_symbolic", "torch_nn"),
        *("torch_attn", "semi_structured", "bucketing", "ao", "device_mesh", "_inductor_debug"),
    ]
)
"""Namespaces of operators that are there after ``import torch``, in 2.9 to 2.13."""


class Spelling:
    """A table of names, built once and shared by all graphs of a process. `operators` has the
    registrations of those that are not PyTorch's own."""

    def __init__(self) -> None:
        self._names: dict[int, tuple[Any, str]] = {}
        self.operators = Operators()
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
            return _qualified(function)
        space = name.split(".")[2]
        if space not in _OPERATORS:
            self.operators.learn(name)
        return name

    def learn(self, names: Iterable[str]) -> Iterator[str]:
        """Find the registrations of operators that code of the user's names. What cannot be brought
        along is told."""
        for name in sorted(names):
            if name.split(".")[2] not in _OPERATORS:
                try:
                    self.operators.learn(name)
                except LookupError as reason:
                    yield f"Code of the script's uses {reason.args[0]}."


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
        value = getattr(torch.Tensor, name)
        if not isinstance(value, type) and (callable(value) or not name.startswith("__")):
            yield value, f"torch.Tensor.{name}"
    for space in _PRIVATE:
        module = _module(space)
        for name in sorted(vars(module)):
            value = getattr(module, name)
            if callable(value) and not isinstance(value, type):
                spelled = f"{space}.{name}"
                yield value, _PUBLIC.get(spelled, spelled)


def _module(path: str) -> Any:
    value: Any = torch
    for part in path.split(".")[1:]:
        value = getattr(value, part)
    return value


def _qualified(function: Any) -> str:
    module = getattr(function, "__module__", None) or ""
    name = str(getattr(function, "__qualname__", None) or getattr(function, "__name__", ""))
    described = f"{module}.{name}".strip(".") or repr(function)
    if not module.startswith("torch") or "<" in name:
        raise LookupError(f"the function {described}, which PyTorch does not provide")
    value: Any = torch
    for part in f"{module}.{name}".split(".")[1:]:
        value = getattr(value, part, None)
    if value is not function:
        raise LookupError(f"the function {described}, which has no public name")
    return f"{module}.{name}"
