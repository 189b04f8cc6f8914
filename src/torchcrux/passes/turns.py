"""Fewer calls of what is compiled, and fewer compilations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torchcrux.passes.base import Draft, Edit


@dataclass(frozen=True, slots=True)
class AtMost:
    """No more than `count` of what a field of the context counts."""

    field: str
    count: int

    def apply(self, draft: Draft) -> Draft:
        now = getattr(draft.context, self.field)
        fewer = {self.field: min(now, self.count)}
        return replace(draft, context=replace(draft.context, **fewer))

    def __str__(self) -> str:
        word = "called" if self.field == "calls" else "compiled"
        return f"{word} {self.count} times"


class Turns:
    """A failure that needs several calls, or compilations, seldom needs all of them."""

    name = "turns"
    summary = "call and compile less often"
    example = "for _ in range(7): compiled(x)  ->  for _ in range(2): compiled(x)"

    def edits(self, draft: Draft) -> Iterator[Edit]:
        for field in ("calls", "compilations"):
            now = getattr(draft.context, field)
            for count in sorted({2, now // 2, now - 1}):
                if 1 < count < now:
                    yield AtMost(field, count)
