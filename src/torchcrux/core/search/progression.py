"""One question at a time: for questions that cannot share the machine.

Needed items are found one after the other from the front, each by halving a block that must hold
one. How long the next block is follows from how far apart the last ones were, so that both a few
items far apart and many side by side cost about as many questions as there is to know.
"""

from __future__ import annotations

from collections.abc import Generator

from torchcrux.core.search.masks import Search, everything, members

Reply = Generator[tuple[int, ...], tuple[bool, ...], bool]


def progression(n: int) -> Search:
    """A removable set of n edits, 1-minimal. The rounds have one question each."""
    whole = everything(n)
    answers = {0: True}

    def fails(mask: int) -> Reply:
        if mask not in answers:
            (answers[mask],) = yield (mask,)
        return answers[mask]

    def span(low: int, high: int) -> int:
        return everything(high - low) << low

    best = position = 0
    block = n
    while position < n:
        rest = best | span(position, n)
        if (yield from fails(rest)):
            best = rest
            break
        start = position
        block = min(block, n - position)
        while block < n - position and (yield from fails(best | span(position, position + block))):
            best |= span(position, position + block)
            position += block
            block = min(2 * block, n - position)
        low, high = position, position + block
        while high - low > 1:
            middle = (low + high) // 2
            if (yield from fails(best | span(low, middle))):
                best |= span(low, middle)
                low = middle
            else:
                high = middle
        position = low + 1
        block = max(1, position - start)

    # Not needed if a larger removal can only be harder; certain only once asked.
    needed = list(members(whole & ~best))
    unchanged = 0
    while unchanged < len(needed):
        item = needed.pop(0)
        if (yield from fails(best | 1 << item)):
            best |= 1 << item
            unchanged = 0
        else:
            needed.append(item)
            unchanged += 1
    return best
