"""How far apart two floating point results may be, element by element.

Within the tolerance of their dtype; or, with a float64 reference, where the compiled result is no
further from it than eager is among numbers of similar size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch

TOLERANCE: Mapping[torch.dtype, tuple[float, float]] = {
    torch.float16: (1e-3, 1e-5),
    torch.bfloat16: (1.6e-2, 1e-5),
    torch.float32: (1.3e-6, 1e-5),
    torch.float64: (1e-7, 1e-7),
    torch.complex32: (1e-3, 1e-5),
    torch.complex64: (1.3e-6, 1e-5),
    torch.complex128: (1e-7, 1e-7),
}
"""(rtol, atol), those of `torch.testing.assert_close`."""

_TYPICAL = 8.0
_WORST = 4.0
"""A compiled error counts if it exceeds 8 times eager's root mean square error and 4 times eager's
largest, among elements of similar size. Two orders of summation differ by 2 to 3."""

_OVERALL = 3.0
_MOST = 0.75
_MANY = 64
"""From 64 elements on, an error that most of them have shows in the norm of the whole tensor, if 3
of 4 elements that differ are also further away than eager's: of two roundings it is every other."""

_SIMILAR = 3
"""Binary orders of magnitude above its own in which an element finds its like."""

_FLOOR = 512.0
_FLOOR_16_BIT = 2.0
"""Units in the last place that any element may be off: where few elements are left, eager may be
right by chance. A factor of 1.02 is 170,000 units of float32 and 2.6 of bfloat16."""

_CHUNK = 1 << 22
"""Elements compared at a time: a few copies in float64 of 32 MB, whatever the tensor's size."""


_EXPONENTS = 2200
"""Binary exponents of float64, from -1100 to 1099; zero goes with the smallest."""


@dataclass(slots=True)
class Spread:
    """Eager's distance from the reference by the binary exponent of the reference, and that of
    the compiled result over all elements (`further` of the `differing` ones it is the larger)."""

    squares: torch.Tensor
    counts: torch.Tensor
    worst: torch.Tensor
    compiled: float = 0.0
    differing: int = 0
    further: int = 0
    rounding: float = 0.0

    @classmethod
    def of(cls, eager: torch.Tensor, compiled: torch.Tensor, reference: torch.Tensor) -> Spread:
        eps = torch.finfo(eager.dtype).eps
        squares, counts, worst = torch.zeros(3, _EXPONENTS, dtype=torch.float64, device="cpu")
        self = cls(squares, counts, worst)
        for part in chunks(eager, compiled, reference):
            one, two, known = map(widened, part)
            finite = torch.isfinite(one) & torch.isfinite(two) & torch.isfinite(known)
            one, two, known = one[finite], two[finite], known[finite]
            error = (one - known).abs()
            place = _exponent(known)
            self.squares.index_add_(0, place, error * error)
            self.counts.index_add_(0, place, torch.ones_like(error))
            self.worst.scatter_reduce_(0, place, error, "amax")
            its = (two - known).abs()
            self.compiled += float(its.square().sum())
            self.differing += int((one != two).sum())
            self.further += int(((its > error) & (one != two)).sum())
            self.rounding += float((known.abs() * eps / 2).square().sum())
        return self

    @property
    def systematic(self) -> bool:
        """Whether the compiled result as a whole is further away than eager and rounding are."""
        usual = max(float(self.squares.sum()), self.rounding)
        return (
            self.differing >= _MANY
            and self.further > _MOST * self.differing
            and self.compiled > _OVERALL**2 * usual
        )

    def bounds(self) -> torch.Tensor:
        """For each exponent the error that is still like eager's. What happens to smaller numbers
        may happen to larger ones, and cancellation gives a small number the error of larger ones.
        """
        squares, counts, worst = self.squares.clone(), self.counts.clone(), self.worst.clone()
        for shift in range(1, _SIMILAR + 1):
            squares[:-shift] += self.squares[shift:]
            counts[:-shift] += self.counts[shift:]
            worst[:-shift] = torch.maximum(worst[:-shift], self.worst[shift:])
        typical = (squares / counts.clamp(min=1)).sqrt()
        return torch.maximum(_TYPICAL * typical, _WORST * worst).cummax(0).values


def _exponent(values: torch.Tensor) -> torch.Tensor:
    size = values.abs()
    exponent = torch.frexp(size).exponent.to(torch.int64)
    return torch.where(size == 0, 0, exponent + _EXPONENTS // 2).clamp(0, _EXPONENTS - 1)


@dataclass(frozen=True, slots=True)
class Limits:
    """How far apart floating point results may be. `units` is relative, `like` eager's own
    error by binary exponent (None without a reference)."""

    rtol: float
    atol: float
    units: float
    like: torch.Tensor | None

    @classmethod
    def of(
        cls,
        eager: torch.Tensor,
        compiled: torch.Tensor,
        reference: torch.Tensor | None,
        rtol: float | None = None,
        atol: float | None = None,
        rough: torch.Tensor | None = None,
    ) -> Limits:
        """`rough` is what eager might have computed as well, as far from the reference."""
        if double(eager.dtype) is None:
            return cls(0.0, 0.0, 0.0, None)
        usual = TOLERANCE.get(eager.dtype, (2 * torch.finfo(eager.dtype).eps, 1e-5))
        like = None
        if reference is not None:
            answers = [eager] if rough is None else [eager, rough]
            spreads = [Spread.of(one, compiled, reference) for one in answers]
            bounds = torch.stack([spread.bounds() for spread in spreads]).amax(0)
            like = bounds * (not all(spread.systematic for spread in spreads))
        return cls(
            usual[0] if rtol is None else rtol,
            usual[1] if atol is None else atol,
            _units(eager.dtype),
            like,
        )

    def broken(
        self, eager: torch.Tensor, compiled: torch.Tensor, known: torch.Tensor | None
    ) -> torch.Tensor:
        """Where `compiled` is wrong (bool, one for each element)."""
        eager, compiled = widened(eager), widened(compiled)
        finite = torch.isfinite(eager) & torch.isfinite(compiled)
        near = finite & ((eager - compiled).abs() <= self.atol + self.rtol * eager.abs())
        wrong = ~(_identical(eager, compiled) | near)
        if known is None or self.like is None:
            return wrong
        known = widened(known)
        allowed = self.atol + max(self.rtol, self.units) * known.abs()
        allowed = allowed + self.like[_exponent(torch.where(torch.isfinite(known), known, 0.0))]
        right = torch.isfinite(compiled) & torch.isfinite(known)
        distance = (compiled - known).abs()
        right &= (distance <= allowed) | (distance <= (eager - known).abs())
        # of two that are not both finite the reference may confirm the compiled one exactly
        return wrong & ~(right | (~finite & _identical(compiled, known)))


def _identical(one: torch.Tensor, two: torch.Tensor) -> torch.Tensor:
    return (one == two) | (torch.isnan(one) & torch.isnan(two))


def unequal(
    eager: torch.Tensor, compiled: torch.Tensor, known: torch.Tensor | None
) -> torch.Tensor:
    """Where integers or bools differ, unless eager itself is not what the reference is there."""
    wrong = _comparable(eager) != _comparable(compiled)
    if known is None or known.is_complex():
        return wrong
    return wrong & (_comparable(eager) == _comparable(known.to(eager.dtype)))


def _comparable(tensor: torch.Tensor) -> torch.Tensor:
    """The unsigned types beyond uint8 have hardly any operators."""
    if tensor.dtype is torch.uint64:
        return tensor.view(torch.int64)
    return tensor.to(torch.int64) if tensor.dtype in (torch.uint16, torch.uint32) else tensor


def widened(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to(double(tensor.dtype) or torch.float64)


def _units(dtype: torch.dtype) -> float:
    eps = torch.finfo(dtype).eps
    return eps * (_FLOOR_16_BIT if eps > 1e-5 else _FLOOR)


def dense(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    return tensor if tensor.layout is torch.strided else tensor.to_dense()


def chunks(*tensors: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """The same elements of each, row-major, on the CPU, without lazy conjugation or negation."""
    flat = [tensor.resolve_conj().resolve_neg().reshape(-1) for tensor in tensors]
    for start in range(0, flat[0].numel(), _CHUNK):
        yield tuple(tensor[start : start + _CHUNK].cpu() for tensor in flat)


def double(dtype: torch.dtype) -> torch.dtype | None:
    if dtype.is_complex:
        return torch.complex128
    return torch.float64 if dtype.is_floating_point else None
