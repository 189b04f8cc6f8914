"""Several changes asked at once: if a program fails with all of them, none of them mends it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

from torchcrux.passes.base import Draft


class ConflictError(Exception):
    """Two changes of one thing."""


def grouped(base: Draft, changed: Sequence[Draft]) -> list[tuple[Draft, list[int]]]:
    """Drafts that each have several of these changes of `base`, with the numbers of these."""
    groups: list[tuple[Draft, list[int]]] = []
    for number, draft in enumerate(changed):
        for at, (together, members) in enumerate(groups):
            try:
                groups[at] = merged(base, together, draft), [*members, number]
            except ConflictError:
                continue
            break
        else:
            groups.append((draft, [number]))
    return groups


def merged(base: Any, one: Any, other: Any) -> Any:
    """`base` with what was changed in `one` and in `other`: fields of dataclasses, items of tuples,
    and what was added at the end of a tuple. Raises ConflictError."""
    if one in (base, other):
        return other
    if other == base:
        return one
    if is_dataclass(base) and type(base) is type(one) is type(other):
        both = {
            field.name: merged(*(getattr(each, field.name) for each in (base, one, other)))
            for field in fields(base)
            if field.init
        }
        return replace(base, **both)  # type: ignore[type-var]
    if isinstance(base, tuple) and isinstance(one, tuple) and isinstance(other, tuple):
        size = len(base)
        if len(one) == len(other) == size:
            return tuple(merged(*each) for each in zip(base, one, other, strict=True))
        if one[:size] == other[:size] == base:
            return one + other[size:]
    raise ConflictError
