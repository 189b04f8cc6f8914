"""Wrong gradients: as wrong numbers, but forgiving where a derivative jumps.

At a kink (relu, max, abs) two roundings of one number may have different derivatives, so that in a
large graph some gradients are far off without a bug. But these are few: what counts must show in
the norm of the whole gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from torchcrux.oracle.closeness import dense, widened
from torchcrux.oracle.numerics import Mismatch, compare

GRADIENT = "gradient"
"""The attribute of a mismatch of gradients."""

LEAST_SHARE = 5e-3
"""A wrong gradient is off by more than this share of its norm. One flipped derivative among n
elements changes it by 1 / sqrt(n), and with few elements hardly one of them is at a kink."""


def compare_gradients(
    eager: Sequence[torch.Tensor | None],
    compiled: Sequence[torch.Tensor | None],
    reference: Sequence[torch.Tensor | None] | None,
) -> Mismatch | None:
    """The first gradient that is wrong, by the number of its input; None if all are right.

    A missing gradient (None) is a gradient of zeros. `reference` are those in double precision.
    """
    truths = reference if reference is not None else [None] * len(eager)
    for index, (one, two, known) in enumerate(zip(eager, compiled, truths, strict=True)):
        some = two if one is None else one
        if some is None:
            continue
        one = torch.zeros_like(some) if one is None else one
        two = torch.zeros_like(some) if two is None else two
        found = compare([one], [two], None if known is None else [known])
        if found is None:
            continue
        if found.attribute != "values":
            return replace(found, index=index)
        if _shows(one, two, known):
            return replace(found, index=index, attribute=GRADIENT)
    return None


def _shows(eager: torch.Tensor, compiled: torch.Tensor, known: Any) -> bool:
    one, two = widened(dense(eager.detach())), widened(dense(compiled.detach()))
    fits = isinstance(known, torch.Tensor) and known.shape == one.shape
    truth = widened(dense(known.detach())) if fits else one
    size, distance = float(truth.norm()), float((two - truth).norm())
    return not distance <= LEAST_SHARE * size
