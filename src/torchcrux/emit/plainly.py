"""Long programs, of which nobody reads every line: each call is written once for all candidates.

There the variables have the names that the values had when they were captured, so that a line is
the same in every subset of a program and is kept with its node. What reads as a loop is no long
program in this sense, however many calls it has.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from operator import eq
from typing import Any

from torchcrux.emit.calls import argument, expression, rebinds, statement
from torchcrux.program.ir import Node, Program

LONG = 500
"""Calls; printing fewer takes less than a fortieth of a second."""
_LONG, _LINE = "long", "line"


def is_long(program: Program) -> bool:
    known = program.told.get(_LONG)
    if known is None:
        known = program.told[_LONG] = program.operations > LONG and not _is_loop(program)
    return bool(known)


@dataclass(frozen=True, slots=True, eq=False)
class PlainVariables(Mapping[str, str]):
    """A variable for each node of a long program, told when it is asked for: as its name, unless
    that means something else. `fx` gives no two nodes of a graph one name, and none that ends as
    those here."""

    program: Program
    taken: frozenset[str]

    def __getitem__(self, name: str) -> str:
        if name in self.taken:
            return f"{self.program.by_name[name].name}__"
        return name

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if name in self.program.by_name else default

    def __contains__(self, name: object) -> bool:
        return name in self.program.by_name

    def __iter__(self) -> Iterator[str]:
        return iter(self.program.by_name)

    def __len__(self) -> int:
        return len(self.program.nodes)


def plain_lines(
    calls: Iterable[Node], names: Mapping[str, str], writers: Iterable[str]
) -> list[str] | None:
    """The line of each call of a long program; None if one is written by one of the `writers`,
    who need the whole function."""
    try:
        return [node.told[_LINE] for node in calls]
    except KeyError:
        special = frozenset(writers)
        if any(node.target in special for node in calls):
            return None
        for node in calls:
            if _LINE not in node.told:
                node.told[_LINE] = _line(node, names)
        return [node.told[_LINE] for node in calls]


def _line(node: Node, names: Mapping[str, str]) -> str:
    """A value that is changed in place has another name from then on, as in the captured graph."""
    if rebinds(node):
        operands = ", ".join(argument(arg, names) for arg in node.args)
        return f"{names[node.name]} = {node.target}({operands})"
    written = statement(node, names)
    return f"{names[node.name]} = {expression(node, names)}" if written is None else written


def _is_loop(program: Program) -> bool:
    """Whether most calls, of those in the middle, are of the target that the call before is of."""
    start = (program.operations - LONG) // 2
    targets = [node.target for node in program.calls[start : start + LONG]]
    alike: int = sum(map(eq, targets, islice(targets, 1, None)))
    return 2 * alike > len(targets)
