"""Wrong numbers: does a compiled result differ from eager's by more than rounding explains?

Two correct programs may round differently, and in a deep graph they drift apart. So a difference
counts only if the compiled result is also clearly further from a float64 run than eager is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from torchcrux.capturing.subclasses import rebuilt
from torchcrux.oracle.closeness import TOLERANCE, Limits, chunks, dense, double, unequal, widened
from torchcrux.oracle.tolerance import Tolerance

_GROSS = 0.1
_SLIGHT = 1e-4
"""Shares of the largest number: rounding alone does not reach the one, and may reach the other."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """How leaf number `index` differs.

    `attribute` is ``structure``, ``type``, ``dtype``, ``shape``, ``layout``, ``device``,
    ``stride``, ``requires_grad``, ``aliases``, ``values`` or, for the values of a gradient,
    ``gradient``. For values: the largest
    absolute and relative difference where both are finite, `count` of `total` elements that differ,
    and the `first` of them (row-major). `share` is the largest absolute difference as a share of
    the largest number that eager computes; `slight` says that rounding errors reach that size.
    """

    index: int
    attribute: str
    eager: str
    compiled: str
    max_abs: float = 0.0
    max_rel: float = 0.0
    count: int = 0
    total: int = 0
    first: int | None = None
    reference: str | None = None
    share: float = 0.0
    slight: bool = False

    def to_json(self) -> dict[str, Any]:
        return {
            key: str(value) if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in asdict(self).items()
        }

    def __str__(self) -> str:
        if self.attribute == "structure":
            return f"the compiled function returns {self.compiled} instead of {self.eager}"
        if self.first is None:
            return f"output {self.index}: {self.attribute} {self.compiled} instead of {self.eager}"
        truth = "" if self.reference is None else f" (float64: {self.reference})"
        what = "gradient of input" if self.attribute == "gradient" else "output"
        return (
            f"{what} {self.index}: {self.count} of {self.total} elements differ, the first at "
            f"{self.first}: {self.compiled} instead of {self.eager}{truth}; largest difference "
            f"{self.max_abs:.3g}, relative {self.max_rel:.3g}"
        )


def compare(
    eager: Sequence[Any],
    compiled: Sequence[Any],
    reference: Sequence[Any] | None = None,
    *,
    rough: Sequence[Any] | None = None,
    tolerance: Tolerance | None = None,
    stride: bool = False,
) -> Mismatch | None:
    """The first difference that counts between two flat sequences of leaves; None if none does.
    One that is as small as rounding stands back behind a later one that is not.

    Leaves are tensors, numbers, None or anything with ``==``. `reference` are those of a run on
    `upcast` inputs; where it is missing, or has another shape, the tolerances alone decide.
    With a `tolerance` that is not looked at. `rough` are those of another run of eager, whose
    distance from the reference is eager's as well; see `short_products`. Random operators must
    have drawn the same numbers in all runs.
    """
    limits = (None, None) if tolerance is None else (tolerance.rtol, tolerance.atol)
    if tolerance is not None:
        reference = None
    if len(eager) != len(compiled):
        return Mismatch(-1, "structure", f"{len(eager)} values", f"{len(compiled)} values")
    truths: Sequence[Any] = (
        reference if reference is not None and len(reference) == len(eager) else [None] * len(eager)
    )
    other = rough if rough is not None and len(rough) == len(eager) else [None] * len(eager)
    slight: Mismatch | None = None
    told = enumerate(zip(eager, compiled, truths, other, strict=True))
    for index, (one, two, truth, near) in told:
        found = _leaf(index, one, two, truth, limits, stride, near)
        if found is not None and not found.slight:
            return found
        slight = slight or found
    return slight


def roughly_alike(one: Sequence[Any], other: Sequence[Any]) -> bool:
    """Whether two flat sequences of leaves agree but for rounding, generously: what is further
    apart has drawn other random numbers. `other` may be longer, and of another dtype."""
    return len(one) <= len(other) and all(map(_roughly, one, other))


def _roughly(one: Any, other: Any) -> bool:
    if not (isinstance(one, torch.Tensor) and one.is_floating_point()):
        return True
    if not isinstance(other, torch.Tensor) or one.shape != other.shape:
        return False
    found = _values(0, one.detach(), other.detach().to(one.dtype), None, (None, None))
    return found is None or found.share < _GROSS


def upcast(value: Any) -> Any:
    """A floating tensor in float64, a complex one in complex128; everything else as it is.

    The result is detached, shares no memory with `value` (also when it is in double precision
    already), has its strides if its elements do not overlap, and is a leaf that requires grad if
    `value` requires grad. Tensors of integers and bools are cloned, since a program may mutate
    them. Sparse and quantised tensors become dense, those made of others are made anew.
    """
    if not isinstance(value, torch.Tensor):
        return value
    around = rebuilt(value, upcast)
    if around is not None:
        return around
    tensor = value.detach()
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    if tensor.layout is not torch.strided:
        tensor = tensor.to_dense()
    wide = double(tensor.dtype)
    copy = torch.empty_strided(
        tensor.shape, _own_strides(tensor), dtype=wide or tensor.dtype, device=tensor.device
    )
    copy.copy_(tensor)
    return copy.requires_grad_(value.requires_grad)


def _own_strides(tensor: torch.Tensor) -> tuple[int, ...]:
    """The strides of `tensor`, or contiguous ones where elements of it share memory."""
    reach = 1
    for step, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size > 1:
            if step < reach:
                return torch.empty(tensor.shape, device="meta").stride()
            reach = step * (size - 1) + reach
    return tensor.stride()


def _leaf(
    index: int,
    eager: Any,
    compiled: Any,
    truth: Any,
    tolerance: tuple[float | None, float | None],
    stride: bool,
    rough: Any,
) -> Mismatch | None:
    if isinstance(eager, torch.Tensor) and isinstance(compiled, torch.Tensor):
        attributes = ["dtype", "shape", "layout", "device", *(["stride"] if stride else [])]
        for name in attributes:
            one, two = _attribute(eager, name), _attribute(compiled, name)
            if one != two:
                return Mismatch(index, name, str(one), str(two))
        if _ends_outside(compiled) and not _ends_outside(eager):
            return Mismatch(index, "values", "a tensor", "one beyond the end of its memory")
        return _values(index, eager.detach(), compiled.detach(), truth, tolerance, rough)
    if type(eager) is not type(compiled):
        return Mismatch(index, "type", type(eager).__name__, type(compiled).__name__)
    if isinstance(eager, (float, complex)):
        return _numbers(index, eager, compiled, truth, tolerance)
    if bool(eager == compiled):
        return None
    return Mismatch(index, "values", repr(eager), repr(compiled), count=1, total=1, first=0)


def _ends_outside(tensor: torch.Tensor) -> bool:
    """Whether the memory of `tensor` is too short for it: nothing can read it then."""
    plain = type(tensor) in (torch.Tensor, torch.nn.Parameter)
    if not plain or tensor.layout is not torch.strided or not tensor.numel():
        return False
    pairs = zip(tensor.shape, tensor.stride(), strict=True)
    last = tensor.storage_offset() + sum((size - 1) * step for size, step in pairs)
    return (last + 1) * tensor.element_size() > tensor.untyped_storage().nbytes()


def _numbers(
    index: int,
    eager: complex,
    compiled: complex,
    truth: Any,
    tolerance: tuple[float | None, float | None],
) -> Mismatch | None:
    """Python numbers mostly come from ``.item()`` of float32: they have its tolerance."""
    wide = torch.complex128 if isinstance(eager, complex) else torch.float64
    rtol, atol = TOLERANCE[torch.float32]
    limits = (
        rtol if tolerance[0] is None else tolerance[0],
        atol if tolerance[1] is None else tolerance[1],
    )
    if isinstance(truth, torch.Tensor) and truth.numel() == 1:
        truth = truth.item()
    fits = isinstance(truth, (int, float)) or (isinstance(truth, complex) and wide.is_complex)
    known = torch.tensor(truth, dtype=wide, device="cpu") if fits else None
    one, two = (torch.tensor(number, dtype=wide, device="cpu") for number in (eager, compiled))
    return _values(index, one, two, known, limits)


def _attribute(tensor: torch.Tensor, name: str) -> Any:
    if name == "shape":
        return tuple(tensor.shape)
    if name == "stride":
        return tensor.stride() if tensor.layout is torch.strided else None
    return getattr(tensor, name)


def _values(
    index: int,
    eager: torch.Tensor,
    compiled: torch.Tensor,
    truth: Any,
    tolerance: tuple[float | None, float | None],
    rough: Any = None,
) -> Mismatch | None:
    eager, compiled = dense(eager), dense(compiled)
    reference = dense(truth.detach()) if isinstance(truth, torch.Tensor) else None
    if reference is not None and reference.shape != eager.shape:
        reference = None
    if reference is not None and _values(index, eager, compiled, None, tolerance) is None:
        return None  # most leaves agree: then the reference need not be read
    near = dense(rough.detach()) if isinstance(rough, torch.Tensor) else None
    near = near if near is not None and near.shape == eager.shape else None
    limits = Limits.of(eager, compiled, reference, *tolerance, rough=near)
    count, start, scale = 0, 0, 0.0
    finite = True
    first: int | None = None
    texts: list[str] = []
    largest = relative = 0.0
    tensors = (eager, compiled) if reference is None else (eager, compiled, reference)
    for one, two, *rest in chunks(*tensors):
        known = rest[0] if rest else None
        magnitude = widened(one).abs()
        magnitude = magnitude[torch.isfinite(magnitude)]
        scale = max(scale, float(magnitude.max()) if magnitude.numel() else 0.0)
        wrong = (unequal if double(eager.dtype) is None else limits.broken)(one, two, known)
        if bool(wrong.any()):
            if first is None:
                at = int(wrong.int().argmax())
                first = start + at
                texts = [str(part[at].item()) for part in (one, two, *rest)]
            count += int(wrong.sum())
            a, b = widened(one)[wrong], widened(two)[wrong]
            distance = (a - b).abs()
            finite = finite and bool(torch.isfinite(distance).all())
            distance = distance[torch.isfinite(distance)]
            ratio = ((a - b).abs() / a.abs())[a != 0]
            ratio = ratio[torch.isfinite(ratio)]
            largest = max(largest, float(distance.max()) if distance.numel() else 0.0)
            relative = max(relative, float(ratio.max()) if ratio.numel() else 0.0)
        start += one.numel()
    if first is None:
        return None
    share = largest / scale if finite and scale else math.inf
    return Mismatch(
        index,
        "values",
        texts[0],
        texts[1],
        max_abs=largest,
        max_rel=relative,
        count=count,
        total=eager.numel(),
        first=first,
        reference=texts[2] if rest else None,
        share=share,
        slight=share < _slight(eager.dtype),
    )


def _slight(dtype: torch.dtype) -> float:
    return max(_SLIGHT, 8 * torch.finfo(dtype).eps) if double(dtype) is not None else 0.0


def is_slip(captured: Mapping[str, Any] | None, found: Mismatch) -> bool:
    """Whether a gross error was `captured`, and what was `found` may be rounding."""
    return found.slight and float((captured or {}).get("share", 0.0)) >= _GROSS
