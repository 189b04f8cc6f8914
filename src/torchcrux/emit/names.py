"""Names of variables: short, after what they hold, the same for programs of the same structure."""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Mapping

from torchcrux.emit.calls import rebinds
from torchcrux.emit.plainly import PlainVariables, is_long
from torchcrux.program.ir import Node, Op, Program, Ref
from torchcrux.program.spec import Number, Sequence

_TAKEN = (
    frozenset(dir(builtins))
    | frozenset(keyword.kwlist)
    | {
        *("torch", "F", "f", "data", "math", "operator", "os", "copy", "faulthandler", "backend"),
        *("checkpoint", "scan", "associative_scan", "flex_attention", "create_block_mask"),
        *("expected", "actual", "load_file"),
    }
)
LETTERS = ("x", "y", "z")
_ROLE = re.compile(r"(weight|bias|mask|running_mean|running_var)_?$")


def variables(program: Program, fixed: Mapping[str, str] | None = None) -> Mapping[str, str]:
    """A Python variable for each node of `program`. `fixed` are nodes whose text is given, and
    must not be used for others."""
    if fixed is None and is_long(program):
        return PlainVariables(program, _TAKEN)
    names: dict[str, str] = dict(fixed or {})
    used = set(names.values())
    counts: dict[str, int] = {}
    bases: dict[tuple[Op, str], str] = {}
    letters = iter(LETTERS)
    for node in program.nodes:
        if node.name in names:
            continue
        if rebinds(node) and isinstance(node.args[0], Ref):
            names[node.name] = names[node.args[0].name]
            continue
        if node.op is Op.INPUT:
            base = _input(node)
            if base == "x":
                base = next(letters, "x")
        else:
            key = (node.op, node.target)
            known = bases.get(key)
            base = bases[key] = _base(node) if known is None else known
        names[node.name] = name = _numbered(base, counts, used)
        used.add(name)
    return names


def _numbered(base: str, counts: dict[str, int], used: set[str]) -> str:
    """`base`, with a number if it is in `used`; `counts` says where to begin."""
    while True:
        taken = counts.get(base, 0)
        counts[base] = taken + 1
        name = base if not taken else f"{base}{taken}" if len(base) == 1 else f"{base}_{taken}"
        if name not in used:
            return name


def _input(node: Node) -> str:
    if isinstance(node.spec, Number):
        return "n"
    if isinstance(node.spec, Sequence):
        return "xs"
    return role_of(node) or "x"


def role_of(node: Node) -> str:
    """What an input is to the module that owned it; empty if its name does not say."""
    role = _ROLE.search(node.name)
    return role.group(1) if role else ""


def _base(node: Node) -> str:
    base = node.target.rpartition(".")[2] if node.op is not Op.METHOD else node.target
    if node.target.startswith("torch.ops."):
        _, _, namespace, base, *_ = node.target.split(".")
        if namespace not in ("aten", "prims"):
            return "out"  # its name may be that of a function of the script
    base = base.strip("_")
    if base == "getitem":
        base = "item"
    if not base.isidentifier() or base in _TAKEN or len(base) == 1:
        return "out"
    return base
