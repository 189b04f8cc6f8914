"""Double precision also where a program names a precision itself: ``x.float() @ w`` takes no `w` in
float64, so that there would be no reference at all.

Only for programs that refuse float64 otherwise. Where one does not, a cast is taken as it stands:
what it rounds away is meant.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import torch

from torchcrux.oracle._torch import dispatching

_WIDE: Mapping[torch.dtype, torch.dtype] = {
    torch.float16: torch.float64,
    torch.bfloat16: torch.float64,
    torch.float32: torch.float64,
    torch.complex32: torch.complex128,
    torch.complex64: torch.complex128,
}

T = TypeVar("T")


def in_double(run: Callable[[], T | None], is_like: Callable[[T], bool]) -> T | None:
    """What `run` returns, called once more with all casts to float64 where it raises or returns
    None. What does so then, or comes to something not `is_like` eager's, is None."""
    try:
        found = run()
    except Exception:
        found = None
    if found is not None:
        return found
    try:
        with widened():
            found = run()
    except Exception:  # eager is all there is
        return None
    return found if found is not None and is_like(found) else None


def widened() -> AbstractContextManager[Any]:
    """Operators compute in float64 whatever dtype they are told. New tensors hold the numbers that
    they would hold otherwise, and bits that are viewed as another dtype stay as they are."""

    def called(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if func is torch.ops.aten.view.dtype:
            return func(*args, **kwargs)
        if not _has_tensors([*args, *kwargs.values()]):
            return _mapped(_wide, func(*args, **kwargs))
        change = _told if func._schema.is_mutable else _wide
        given = {name: _mapped(change, value) for name, value in kwargs.items()}
        return func(*_mapped(change, args), **given)

    return dispatching(called)


def _told(value: Any) -> Any:
    return _WIDE.get(value, value) if isinstance(value, torch.dtype) else value


def _wide(value: Any) -> Any:
    if isinstance(value, torch.Tensor) and value.dtype in _WIDE:
        return value.to(_WIDE[value.dtype])
    return _told(value)


def _has_tensors(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return any(map(_has_tensors, value))
    return isinstance(value, torch.Tensor)


def _mapped(change: Callable[[Any], Any], value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [_mapped(change, item) for item in value]
    return change(value)
