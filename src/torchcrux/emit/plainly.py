"""Long programs, of which nobody reads every line: each call is written once for all candidates.

There the variables have the names that the values had when they were captured, so that a line is
the same in every subset of a program and is kept with its node. What reads as a loop is no long
program in this sense, however many calls it has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from operator import eq

from torchcrux.emit.calls import argument, expression, rebinds, statement
from torchcrux.program.ir import Node, Program

LONG = 1000
"""Calls; printing fewer takes less than a twentieth of a second."""
_LONG, _LINE, _NAME = "long", "line", "name"


def is_long(program: Program) -> bool:
    known = program.told.get(_LONG)
    if known is None:
        known = program.told[_LONG] = program.operations > LONG and not _is_loop(program)
    return bool(known)


def plain_variables(program: Program, taken: frozenset[str]) -> Mapping[str, str]:
    """A variable for each node of a long program. None of them is `taken`."""
    known: Mapping[str, str] | None = program.told.get(_NAME)
    if known is None:
        for node in program.nodes:
            if _NAME not in node.told:
                # `fx` gives no two nodes of a graph one name, and none that ends so.
                node.told[_NAME] = f"{node.name}__" if node.name in taken else node.name
        known = program.told[_NAME] = {node.name: node.told[_NAME] for node in program.nodes}
    return known


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
    """Whether most calls are of the target that the call before is of."""
    targets = [node.target for node in program.calls]
    alike: int = sum(map(eq, targets, islice(targets, 1, None)))
    return 2 * alike > len(targets)
