"""Sets of edits as integers: bit i is edit i. Twenty thousand edits cost microseconds."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Generator, Iterable, Iterator, Sequence
from itertools import accumulate, pairwise

Search = Generator[tuple[int, ...], tuple[bool, ...], int]
"""Yields a round of masks, each the complete set of edits applied; receives for each, in order,
whether the program still fails; returns the largest mask that was answered True (0 if none)."""

Chunk = Sequence[int]
"""Neighbouring items, ascending. A range while nothing in between is gone, else a tuple."""


def everything(n: int) -> int:
    return (1 << n) - 1


def mask_of(items: Iterable[int]) -> int:
    if isinstance(items, range) and items.step == 1:
        return everything(len(items)) << items.start if items else 0
    listed = list(items)
    if not listed:
        return 0
    bits = bytearray(max(listed) // 8 + 1)
    for item in listed:
        bits[item >> 3] |= 1 << (item & 7)
    return int.from_bytes(bits, "little")


def members(mask: int) -> Iterator[int]:
    """The set bits, ascending."""
    for place, byte in enumerate(mask.to_bytes((mask.bit_length() + 7) // 8, "little")):
        while byte:
            low = byte & -byte
            yield place * 8 + low.bit_length() - 1
            byte ^= low


def as_chunk(mask: int) -> Chunk:
    """The set bits as a chunk; a run without a gap becomes a range."""
    if not mask:
        return ()
    start = (mask & -mask).bit_length() - 1
    stop = mask.bit_length()
    if mask.bit_count() == stop - start:
        return range(start, stop)
    return tuple(members(mask))


def windows(n: int, shares: Sequence[int] = (8, 4, 2)) -> Iterator[int]:
    """Sets of neighbours, the smallest first: 1/8, 1/4, 1/2 of all, each overlapping the next by
    half, so that whatever fits into half a window lies whole in one."""
    for share in shares:
        size = -(-n // share)
        steps = range(0, n, max(1, size // 2))
        for start in dict.fromkeys(min(start, n - size) for start in steps):
            yield everything(size) << start


def split(chunk: Chunk, count: int, weights: Sequence[float] | None = None) -> list[Chunk]:
    """Cuts a chunk into at most `count` neighbouring pieces of about equal weight, none empty."""
    size = len(chunk)
    count = min(count, size)
    if count <= 1:
        return [chunk] if size else []
    if weights is None:
        cuts = [size * piece // count for piece in range(count + 1)]
    else:
        sums = list(accumulate(weights[item] for item in chunk))
        cuts = [0]
        for piece in range(1, count):
            cut = bisect_left(sums, sums[-1] * piece / count) + 1
            cuts.append(min(max(cut, cuts[-1] + 1), size - count + piece))
        cuts.append(size)
    return [chunk[low:high] for low, high in pairwise(cuts)]
