"""What is known of a value without holding it: shape, dtype, strides, range."""

from __future__ import annotations

import math
from collections.abc import Iterator
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

    A subclass around other tensors has these as `parts`, by the attributes that hold them; `form`
    is then as in `program.wrapping`.

    Inputs that share memory have the same `memory`, and all begin at the `offset` in theirs. If the
    others are views of one of them, that one is the `base`.
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
    base: bool = False
    parts: tuple[tuple[str, Tensor], ...] = ()

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


def tensors(spec: Spec | None) -> Iterator[Tensor]:
    """The tensors of a value, those with parts before their parts."""
    if isinstance(spec, Tensor):
        yield spec
        for _, part in spec.parts:
            yield from tensors(part)
    elif isinstance(spec, Sequence):
        for item in spec.items:
            yield from tensors(item)


def stored_under(name: str, spec: Spec | None) -> list[str]:
    """The names under which the values of `name` are stored, one for each tensor without parts."""
    match spec:
        case Tensor(parts=()):
            return [name]
        case Tensor(parts=parts):
            return [key for part, inner in parts for key in stored_under(f"{name}.{part}", inner)]
        case Sequence(items):
            return [key for i, one in enumerate(items) for key in stored_under(f"{name}.{i}", one)]
    return []


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
