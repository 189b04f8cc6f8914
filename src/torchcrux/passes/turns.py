"""Fewer calls of what is compiled, and fewer compilations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torchcrux.passes.base import Draft, Edit
from torchcrux.passes.context import DropItem
from torchcrux.program.earlier import symbols_of
from torchcrux.program.ir import Program
from torchcrux.program.spec import Number, Tensor

_ORDINALS = ("first", "second")
"""There are at most two calls of other sizes: see `forms`."""


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


@dataclass(frozen=True, slots=True)
class EarlierSize:
    """Another size of what `symbol` stands for in one of the calls before; `what` that is."""

    index: int
    symbol: str
    size: int
    what: str

    def apply(self, draft: Draft) -> Draft:
        earlier = [*draft.context.earlier]
        if self.index >= len(earlier):
            return draft
        earlier[self.index] = tuple(
            (symbol, self.size if symbol == self.symbol else size)
            for symbol, size in earlier[self.index]
        )
        return replace(draft, context=replace(draft.context, earlier=tuple(earlier)))

    def __str__(self) -> str:
        return f"{self.what} = {self.size} in the {_ORDINALS[self.index]} call"


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
        known = symbols_of(draft.program)
        for index, sizes in enumerate(draft.context.earlier):
            if len(draft.context.earlier) > 1:
                yield DropItem("earlier", sizes)
            for symbol, size in sizes:
                own = known.get(symbol)
                if own is None or size == own:
                    continue
                for smaller in sorted({own, 2, 3, own + 1, size // 2}):
                    if smaller == own or 1 < smaller < size:
                        yield EarlierSize(index, symbol, smaller, _words(draft.program, symbol))


def _words(program: Program, symbol: str) -> str:
    """What has the size that `symbol` stands for, as Python writes it."""
    for node in program.inputs:
        match node.spec:
            case Number(symbol=found) if found == symbol:
                return node.name
            case Tensor(symbols=symbols) if symbol in symbols:
                return f"{node.name}.shape[{symbols.index(symbol)}]"
    return symbol
