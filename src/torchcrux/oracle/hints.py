"""What a failure itself says about where it arose."""

from __future__ import annotations

import re

from torchcrux.emit.random import name_of
from torchcrux.oracle.failure import Failure
from torchcrux.oracle.kernels import is_in_kernel
from torchcrux.passes.base import Draft


def hinted(draft: Draft, failure: Failure) -> int:
    """A mask of the calls that the failure names (bit i for the i-th call)."""
    words = set(re.findall(r"[a-z][a-z0-9_]{2,}", failure.text.lower()))
    mask = 0
    for i, node in enumerate(draft.program.calls):
        name = name_of(node).strip("_")
        stem = re.sub(r"\d+d?$", "", name)
        if is_in_kernel(name, failure.kernel) or (
            name in words or any(len(stem) > 3 and word.startswith(stem) for word in words)
        ):
            mask |= 1 << i
    return mask
