"""Names of variables: short, after what they hold, the same for programs of the same structure."""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Mapping

from torchcrux.emit.calls import rebinds
from torchcrux.program.ir import Node, Op, Program, Ref
from torchcrux.program.spec import Number, Sequence

_TAKEN = frozenset(dir(builtins)) | frozenset(keyword.kwlist) | {"torch", "F", "f", "data"}
LETTERS = ("x", "y", "z")
_ROLE = re.compile(r"(weight|bias|mask|running_mean|running_var)_?$")


def variables(program: Program) -> Mapping[str, str]:
    """A Python variable for each node of `program`."""
    names: dict[str, str] = {}
    counts: dict[str, int] = {}
    letters = iter(LETTERS)
    for node in program.nodes:
        if rebinds(node) and isinstance(node.args[0], Ref):
            names[node.name] = names[node.args[0].name]
            continue
        base = _base(node)
        if base == "x":
            base = next(letters, "x")
        taken = counts.get(base, 0)
        counts[base] = taken + 1
        suffix = str(taken) if len(base) == 1 else f"_{taken}"
        names[node.name] = base + suffix if taken else base
    return names


def _base(node: Node) -> str:
    if node.op is Op.INPUT:
        if isinstance(node.spec, Number):
            return "n"
        if isinstance(node.spec, Sequence):
            return "xs"
        role = _ROLE.search(node.name)
        return role.group(1) if role else "x"
    base = node.target.rpartition(".")[2] if node.op is not Op.METHOD else node.target
    if node.target.startswith("torch.ops."):
        base = node.target.split(".")[-2]
    base = base.strip("_")
    if base == "getitem":
        base = "item"
    if not base.isidentifier() or base in _TAKEN or len(base) == 1:
        return "out"
    return base
