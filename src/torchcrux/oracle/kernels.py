"""Which kernel of Inductor's a compiler of C++ or of Triton refused, and what is fused in it."""

from __future__ import annotations

import linecache
import re
from collections.abc import Iterable
from types import FrameType

_DEFINITION = re.compile(r"^(\w+) = async_compile\.")


def refused_kernel(frames: Iterable[FrameType]) -> str:
    """The name of the kernel that was being compiled, as ``cpp_fused_pow_relu_1``; else empty.

    The generated module defines a kernel in a statement ``<name> = async_compile.…``, which fails
    itself; or `_wait_futures` of torch/_inductor/async_compile.py does, whose loop variable is
    `key`. 2.13.
    """
    found = ""
    for frame in frames:
        code = frame.f_code
        if code.co_name == "_wait_futures" and isinstance(frame.f_locals.get("key"), str):
            found = str(frame.f_locals["key"])
        elif code.co_name == "<module>" and "async_compile" in frame.f_globals:
            line = linecache.getline(code.co_filename, frame.f_lineno)
            if definition := _DEFINITION.match(line):
                found = definition[1]
    return found


def is_in_kernel(operation: str, kernel: str) -> bool:
    """Whether a kernel of this name computes an operation, as far as names tell."""
    _, fused, operations = kernel.partition("_fused_")
    return bool(fused) and f"_{operation.strip('_')}_" in f"_{operations}_"
