"""The private PyTorch names behind operators registered from Python."""

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


def custom_operator(name: str) -> CustomOperator | None:
    """The operator ``namespace::name`` if `torch.library.custom_op` or `triton_op` made it.

    `torch._library.custom_ops.OPDEFS`, 2.4 and newer.
    """
    known = getattr(importlib.import_module("torch._library.custom_ops"), "OPDEFS", {})
    found = known.get(name)
    if found is None:
        return None
    return CustomOperator(found, getattr(getattr(found, "_init_fn", None), "__module__", "") or "")
