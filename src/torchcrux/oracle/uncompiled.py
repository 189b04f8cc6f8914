"""`torch.compile` as if there were none, but for what eager itself compiles."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torchcrux.torch_modules import COMPILED_IN_EAGER


@contextmanager
def uncompiled() -> Iterator[None]:
    """Inside, a program runs in eager. Operators that take functions (scan, flex_attention) compile
    these to find out what the functions refer to: without that they are not the same in eager."""
    import torch

    original: Any = torch.compile

    def compile(model: Any = None, **options: Any) -> Any:
        caller = str(sys._getframe(1).f_globals.get("__name__"))
        if caller.startswith(COMPILED_IN_EAGER):
            return original(model, **options)
        return model if model is not None else (lambda function: function)

    torch.compile = compile
    try:
        yield
    finally:
        torch.compile = original
