"""A registered operator by the name that its registration gives it: `rotate(x)` for
`torch.ops.mine.rotate.default(x)`."""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping, Sequence

_MAKES_A_NAME = ("custom_op", "triton_op")
"""Of `torch.library`: what they return is called like a function, and stands for the operator."""


def names_of(registered: Sequence[str]) -> dict[str, str]:
    """The Python names that lines of text bind to operators, by ``torch.ops.<namespace>.<name>``;
    only those that are bound once."""
    tree = ast.parse("\n".join(registered)).body
    found: dict[str, str] = {}
    bound: list[str] = []
    for statement in tree:
        match statement:
            case ast.FunctionDef(name=name, decorator_list=[made, *_]):
                pass
            case ast.Assign(targets=[ast.Name(name)], value=made):
                pass
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                bound.append(name)
                continue
            case _:
                continue
        bound.append(name)
        operator = _made(made)
        if operator:
            found[operator] = name
    return {key: name for key, name in found.items() if bound.count(name) == 1}


def _made(expression: ast.expr) -> str:
    match expression:
        case ast.Call(
            func=ast.Attribute(attr=maker) | ast.Name(id=maker),
            args=[ast.Constant(value=str(name)), *_],
        ) if maker in _MAKES_A_NAME:
            return f"torch.ops.{name.replace('::', '.')}"
    return ""


def by_name(lines: Sequence[str], names: Mapping[str, str], taken: Collection[str]) -> list[str]:
    """`lines` that call operators by those of their `names` that are not `taken`."""
    for operator, name in names.items():
        if name not in taken:
            lines = [line.replace(f"{operator}.default(", f"{name}(") for line in lines]
    return [*lines]
