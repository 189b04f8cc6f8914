"""The gradients of one call of a graph, without touching those of the user.

Everything happens on copies: no `.grad` is written, no hook of the user runs, and the backward
pass that the user may run later is still there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from torchcrux.capturing.clones import overlaps
from torchcrux.capturing.subclasses import innermost

SEED = 0


def gradients(
    run: Callable[..., Any], inputs: Sequence[Any], weights: Sequence[torch.Tensor] | None = None
) -> tuple[list[torch.Tensor | None], list[torch.Tensor]] | None:
    """Run forward and backward on `inputs`, which the call may change.

    Returns the gradient of each input that requires one, and the `weights`: the gradients of the
    outputs, random ones if none are given. None if there is nothing to differentiate. Raises what
    forward or backward raises.
    """
    wanted = [x for x in inputs if isinstance(x, torch.Tensor) and x.requires_grad]
    with torch.enable_grad():
        outputs = [
            out
            for out in leaves(run(*map(_given, inputs)))
            if isinstance(out, torch.Tensor) and out.requires_grad
        ]
    if not wanted or not outputs:
        return None
    if weights is None:
        weights = [_random(out, number) for number, out in enumerate(outputs)]
    if len(weights) != len(outputs):
        return None
    cast = [
        weight.to(dtype=out.dtype, device=out.device)
        for weight, out in zip(weights, outputs, strict=True)
    ]
    found = torch.autograd.grad(outputs, wanted, cast, allow_unused=True)
    return leaves(found), list(weights)


def leaves(value: Any) -> list[Any]:
    """What nested tuples and lists hold, and tensors that are made of others."""
    if isinstance(value, (tuple, list)):
        return [leaf for item in value for leaf in leaves(item)]
    return [*innermost(value)] if isinstance(value, torch.Tensor) else [value]


def _given(value: Any) -> Any:
    """The argument for an input. A graph may write into one that is not a leaf, but the gradient
    is asked of what it was before."""
    if not isinstance(value, torch.Tensor) or not value.requires_grad or value.is_leaf:
        return value
    if value.layout is not torch.strided or overlaps(value):
        return value.view_as(value)
    copied = torch.empty_strided(
        value.size(), value.stride(), dtype=value.dtype, device=value.device
    )
    return copied.copy_(value)


def _random(out: torch.Tensor, number: int) -> torch.Tensor:
    generator = torch.Generator("cpu").manual_seed(SEED + number)
    dtype = torch.complex64 if out.is_complex() else torch.float32
    made = torch.randn(tuple(out.shape), generator=generator, dtype=dtype, device="cpu")
    return made.to(dtype=out.dtype, device=out.device)
