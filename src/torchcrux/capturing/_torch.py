"""The private PyTorch names behind operators registered from Python, and behind `torch.func`."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class CustomOperator:
    """An operator registered from Python: the object that its name is bound to, and the module of
    the function it was made of."""

    handle: Any
    home: str


def is_inside_a_transform(tensor: Any) -> bool:
    """Whether `tensor` belongs to a level of `torch.func` and has no data of its own.

    `torch._C._functorch.is_functorch_wrapped_tensor`, 2.0 and newer.
    """
    functorch: Any = importlib.import_module("torch._C._functorch")
    return bool(functorch.is_functorch_wrapped_tensor(tensor))


def is_wrapper(tensor: Any) -> bool:
    """Whether `tensor` is of a subclass that holds other tensors, as a compiler can take it apart.

    `torch.utils._python_dispatch.is_traceable_wrapper_subclass`, 2.1 and newer.
    """
    module: Any = importlib.import_module("torch.utils._python_dispatch")
    return bool(module.is_traceable_wrapper_subclass(tensor))


def custom_operator(name: str) -> CustomOperator | None:
    """The operator ``namespace::name`` if `torch.library.custom_op` or `triton_op` made it.

    `torch._library.custom_ops.OPDEFS`, 2.4 and newer.
    """
    known = getattr(importlib.import_module("torch._library.custom_ops"), "OPDEFS", {})
    found = known.get(name)
    if found is None:
        return None
    return CustomOperator(found, getattr(getattr(found, "_init_fn", None), "__module__", "") or "")
