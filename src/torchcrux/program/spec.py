"""What is known of a value without holding it: shape, dtype, strides, range."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor. `strides` and `offset` count elements; `dtype` is the name after ``torch.``.

    `low` and `high` are the least and greatest element of an integer or boolean tensor, in eager.
    `symbols[d]` names the symbolic size of dimension d, empty where the size is static; the tuple
    is empty when all sizes are static. `conj` is set for a lazily conjugated view, `inference` for
    a tensor that was made in inference mode.

    A tensor that is not dense is described by way of a dense one: `form` is how a sparse or
    quantized tensor is made of it (``{}`` in the text), `lengths` are the rows of it that each item
    of a nested tensor has. `lost` says what has no text: the dense tensor is the best there is.

    Inputs that share memory have the same `memory`, and all begin at the `offset` in theirs.
    """

    shape: tuple[int, ...]
    dtype: str = "float32"
    device: str = "cpu"
    strides: tuple[int, ...] | None = None
    requires_grad: bool = False
    is_leaf: bool = True
    low: int | None = None
    high: int | None = None
    symbols: tuple[str, ...] = ()
    conj: bool = False
    inference: bool = False
    form: str = ""
    lengths: tuple[int, ...] = ()
    lost: str = ""
    memory: str = ""
    offset: int = 0

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def is_floating(self) -> bool:
        return self.dtype.startswith(("float", "bfloat", "complex"))

    @property
    def is_contiguous(self) -> bool:
        return self.strides is None or is_contiguous(self.shape, self.strides)


@dataclass(frozen=True, slots=True)
class Number:
    """A Python number. `symbol` names the symbolic integer the compiler saw instead."""

    value: int | float | bool | complex | str
    symbol: str = ""

    @property
    def elements(self) -> int:
        return 0


@dataclass(frozen=True, slots=True)
class Sequence:
    """Several values returned by one call."""

    items: tuple[Spec, ...]

    @property
    def elements(self) -> int:
        return sum(item.elements for item in self.items)


@dataclass(frozen=True, slots=True)
class Nothing:
    """The value None."""

    @property
    def elements(self) -> int:
        return 0


@dataclass(frozen=True, slots=True)
class Opaque:
    """A value that cannot be passed as an argument (a stream, a token); `what` says what it is."""

    what: str

    @property
    def elements(self) -> int:
        return 0


Spec: TypeAlias = Tensor | Number | Sequence | Nothing | Opaque


def contiguous_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


def is_contiguous(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Row-major, as ``torch.Tensor.is_contiguous``: the stride of a dimension of size 1 is free."""
    if 0 in shape:
        return True
    return all(
        size == 1 or have == want
        for size, have, want in zip(shape, strides, contiguous_strides(shape), strict=True)
    )
