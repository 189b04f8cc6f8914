"""What values are called, as far as telling one failure from another asks for it.

A signature compares stems of names (`relu` of ``relu_17``). Of twenty thousand names there are some
dozens of stems, and only these go to the judge of a candidate.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from torchcrux.emit.names import variables
from torchcrux.emit.plainly import is_long
from torchcrux.emit.random import name_of
from torchcrux.oracle.message import stem
from torchcrux.program.ir import Node, Program

_PAIRS = "stems"


def stems(names: Iterable[str]) -> list[str]:
    return sorted(set(map(stem, names)))


def renamed(program: Program) -> list[tuple[str, str]]:
    """Stems of the names of values in a script, or in the graph that Dynamo makes of it, with those
    of their captured names.

    Dynamo names a value after its variable, an input after the argument, and what has no variable
    after the operation.
    """
    names = variables(program)
    found: set[tuple[str, str]] = set()
    for node in program.inputs:
        variable = names[node.name]
        for name in (variable, f"l_{variable}_", f"L_{variable}_"):
            found.add((stem(name), stem(node.name)))
    if is_long(program):  # then the variable of a call is always the same
        try:
            told = {node.told[_PAIRS] for node in program.calls}
        except KeyError:
            for node in program.calls:
                node.told.setdefault(_PAIRS, _pairs(node, names[node.name]))
            told = {node.told[_PAIRS] for node in program.calls}
    else:
        told = {_pairs(node, names[node.name]) for node in program.calls}
    for pairs in told:
        variable, called, old = pairs.split()
        found |= {(variable, old), (called, old)}
    return sorted(found)


def _pairs(node: Node, variable: str) -> str:
    """The stems of the variable, of what is called and of the captured name: as a text, which of
    all things is told from others the fastest."""
    old = stem(node.name)
    new = old if variable == node.name else stem(variable)
    return f"{new} {_called(name_of(node))} {old}"


_called = cache(stem)
"""Of what is called there are few names."""
