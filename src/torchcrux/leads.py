"""Where to look first: sets of calls that may suffice, as masks over the calls of a program."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from torchcrux.oracle.failure import Failure
from torchcrux.oracle.hints import hinted
from torchcrux.passes.base import Draft
from torchcrux.program.ir import Program

MOST_NAMED = 4
"""Calls that the failure names which are asked each by itself, at first one of each operator."""
DEPTHS = (1, 3)
"""How many operations back from what a failure names are asked with it."""


def leads(draft: Draft, failure: Failure) -> tuple[int, ...]:
    """What the failure names: some calls each by itself, all of them, and what is around the first
    and around some. None where it names nothing, or everything."""
    program = draft.program
    named = hinted(draft, failure)
    if not 0 < len(named) < program.operations:
        return ()
    of_a_kind = {program.calls[i].target: i for i in reversed(named)}
    first = [i for i in named if i in of_a_kind.values()]
    asked = [*dict.fromkeys([*first, *named])][:MOST_NAMED]
    found = [*(1 << i for i in asked), sum(1 << i for i in named)]
    found += [around(program, some, depth) for some in (asked[:1], asked) for depth in DEPTHS]
    return tuple(dict.fromkeys(found))


def around(program: Program, numbers: Sequence[int], depth: int) -> int:
    """Some calls, what computes their operands up to so many steps back, and what uses them."""
    at = {node.name: i for i, node in enumerate(program.calls)}
    names = {program.calls[i].name for i in numbers}
    using = (i for i, node in enumerate(program.calls) if not names.isdisjoint(node.references()))
    last = {*numbers}
    found = last.union(using)
    for _ in range(depth):
        before = {one for i in last for one in program.calls[i].references()}
        last = {at[one] for one in before if one in at}
        found |= last
    return sum(1 << i for i in found)


def likely(program: Program, hints: Sequence[int]) -> list[float]:
    """How much speaks for each call: that the failure names it, or that there are few like it. One
    that is needed and frequent is in every window, so that nothing is lost."""
    counts = Counter(node.target for node in program.calls)
    named = sum(hint for hint in hints if hint.bit_count() == 1)
    return [
        1 / counts[node.target] + program.operations * (named >> i & 1)
        for i, node in enumerate(program.calls)
    ]
