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

LIKE_EAGER = 2.0
"""And off by so many times what eager is, for which derivatives flip as well."""


def compare_gradients(
    eager: Sequence[torch.Tensor | None],
    compiled: Sequence[torch.Tensor | None],
    reference: Sequence[torch.Tensor | None] | None,
    rough: Sequence[torch.Tensor | None] | None = None,
) -> Mismatch | None:
    """The first gradient that is wrong, by the number of its input; None if all are right.

    A missing gradient (None) is a gradient of zeros. `reference` are those in double precision,
    `rough` what eager might have computed as well.
    """
    truths = reference if reference is not None else [None] * len(eager)
    others = rough if rough is not None else [None] * len(eager)
    told = enumerate(zip(eager, compiled, truths, others, strict=True))
    for index, (one, two, known, near) in told:
        some = two if one is None else one
        if some is None:
            continue
        one = torch.zeros_like(some) if one is None else one
        two = torch.zeros_like(some) if two is None else two
        found = compare([one], [two], None if known is None else [known], rough=[near])
        if found is None:
            continue
        if found.attribute != "values":
            return replace(found, index=index)
        if _shows(one, two, known, near):
            return replace(found, index=index, attribute=GRADIENT)
    return None


def _shows(eager: torch.Tensor, compiled: torch.Tensor, known: Any, near: Any) -> bool:
    one, two = widened(dense(eager.detach())), widened(dense(compiled.detach()))
    truth = one if (told := _alike(known, one)) is None else told
    rough = one if (told := _alike(near, one)) is None else told
    usual = max(float((one - truth).norm()), float((rough - truth).norm()))
    allowed = max(LEAST_SHARE * float(truth.norm()), LIKE_EAGER * usual)
    return not float((two - truth).norm()) <= allowed


def _alike(value: Any, like: torch.Tensor) -> torch.Tensor | None:
    if not isinstance(value, torch.Tensor) or value.shape != like.shape:
        return None
    return widened(dense(value.detach()))
