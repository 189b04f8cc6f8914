"""Integers and bools that flip because a float near a threshold moved are no wrong numbers.

Where eager itself gives another integer as soon as its floating inputs move by a few units in the
last place, either answer is right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from torchcrux.capturing.subclasses import rebuilt

TRIES = 8
_UNITS = 4
"""Units in the last place by which inputs of 32 and 64 bits are moved at most; shorter by one."""

_SHORT = 2.0**-10
"""The unit of the shortest operands that products of float32 may have."""


def settled(
    eager: Sequence[Any],
    compiled: Sequence[Any],
    rerun: Callable[[int], Sequence[Any] | None],
) -> list[Any]:
    """`compiled` with eager's answer wherever its own is one that eager gives on moved inputs.

    `rerun` returns what eager computes on inputs that are moved as the seed says, None if it
    cannot. Leaves that are no tensors of integers or bools stay as they are, and so do those with
    eager's values: they may have another layout. A wrong dtype is no question of values.
    """
    variants = [leaves for seed in range(TRIES) if (leaves := rerun(seed)) is not None]
    result = list(compiled)
    for i, (one, two) in enumerate(zip(eager, compiled, strict=True)):
        if not (_is_integral(one) and _are_of_a_kind(one, two)) or torch.equal(one, two):
            continue
        others = [leaves[i] for leaves in variants if len(leaves) == len(eager)]
        others = [other for other in others if _are_of_a_kind(other, two)]
        if others:
            found = torch.stack([other == two for other in others]).any(0)
            result[i] = torch.where(found, one, two)
    return result


def _are_of_a_kind(one: Any, two: Any) -> bool:
    tensors = isinstance(one, torch.Tensor) and isinstance(two, torch.Tensor)
    return tensors and (one.dtype, one.shape, one.device) == (two.dtype, two.shape, two.device)


def decides(leaves: Sequence[Any]) -> bool:
    """Whether there is an integer or a bool among the leaves."""
    return any(map(_is_integral, leaves))


def moved(value: Any, seed: int, *, short: bool = False) -> Any:
    """A copy of a floating tensor with each element moved by a few units in the last place; a
    clone of any other tensor. With `short`, by one of those that products may be computed with."""
    if not isinstance(value, torch.Tensor):
        return value
    around = rebuilt(value, lambda part: moved(part, seed, short=short))
    if around is not None:
        return around
    copy = value.detach().clone()
    if not copy.is_floating_point() or copy.layout is not torch.strided:
        return copy.requires_grad_(value.requires_grad)
    eps = torch.finfo(copy.dtype).eps
    most = _UNITS if eps < 1e-5 else 1
    if short and eps < _SHORT:
        eps, most = _SHORT, 1
    generator = torch.Generator("cpu").manual_seed(seed)
    steps = torch.randint(-most, most + 1, copy.shape, generator=generator, device="cpu")
    steps = steps.to(copy.device)
    return (copy * (1 + steps * eps).to(copy.dtype)).requires_grad_(value.requires_grad)


def _is_integral(value: Any) -> bool:
    return (
        isinstance(value, torch.Tensor)
        and value.layout is torch.strided
        and not (value.is_floating_point() or value.is_complex() or value.is_quantized)
    )
