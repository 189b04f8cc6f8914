"""Decompositions and lowerings that the user's modules have added or replaced, as text."""

from __future__ import annotations

import ast
import inspect
import sys
import types
from collections.abc import Collection, Iterator
from functools import partial
from typing import Any

from torchcrux import _torch
from torchcrux.capturing.backend import installed
from torchcrux.capturing.registration import calls_of
from torchcrux.capturing.slicing import Slices
from torchcrux.capturing.statements import Statement

_OF_TORCH = ("aten", "prims", "prim", "inductor", "quantized")
"""Operators of other namespaces are there only if what registers them is."""


def changed_rules(notes: list[str]) -> tuple[str, ...]:
    """The statements that register each of them; `notes` get what has no text."""
    found: dict[str, None] = {}
    for function in _functions():
        module = sys.modules.get(function.__module__)
        if module is None or module.__name__.partition(".")[0] in ("torch", "torchcrux"):
            continue
        if installed(module):
            found[f"import {module.__name__}"] = None
            continue
        what = f"The rule {function.__qualname__}, which changes what an operator comes down to,"
        slices = Slices(installed)
        try:
            taken = _taken(slices, module, function.__name__)
        except (OSError, SyntaxError) as reason:
            notes.append(f"{what} cannot be written down: {reason}.")
            continue
        if taken and not slices.clashes():
            found[slices.text()] = None
        else:
            notes.append(f"{what} cannot be written down: no statement registers it.")
    return tuple(found)


def _functions() -> Iterator[types.FunctionType]:
    """The functions in the tables, without what torch has wrapped around them."""
    seen: set[int] = set()
    for table in _torch.rule_tables():
        for operator, rule in list(table.items()):
            if getattr(operator, "namespace", "aten") not in _OF_TORCH:
                continue
            function = _unwrapped(rule)
            if isinstance(function, types.FunctionType) and id(function) not in seen:
                seen.add(id(function))
                yield function


def _unwrapped(rule: Any) -> Any:
    while isinstance(rule, partial):
        rule = rule.func
    return inspect.unwrap(rule) if callable(rule) else rule


def _taken(slices: Slices, module: types.ModuleType, name: str) -> bool:
    """Take the statements of `module` that register its function `name`."""
    stated = partial(_registers, name=name, called=slices.called(module))
    names = slices.take(module, stated)
    if any(names):
        slices.take(module, partial(calls_of, names=frozenset().union(*names) - {name}))
    return bool(names) or slices.take_calls(partial(_registers_inside, name=name, home=module))


def _registers_inside(
    one: Statement, module: types.ModuleType, name: str, home: types.ModuleType
) -> bool:
    """Whether something in a statement of `module` registers the function `name` of `home`."""
    parts = [part for part in ast.walk(one.node) if isinstance(part, ast.stmt)]
    known = module is home or name in one.uses
    return known and any(_registers(part, name, ()) for part in parts)


def _registers(node: ast.stmt, name: str, called: Collection[str]) -> bool:
    """Whether `node` registers the function `name`: by a decorator, as a statement that uses it, or
    in a function that is `called` for that."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        if node.name == name:
            return bool(node.decorator_list)
        return node.name in called and _uses(node, name)
    if isinstance(node, ast.Assign):
        subscripted = any(isinstance(target, ast.Subscript) for target in node.targets)
        return subscripted and _uses(node, name)
    return isinstance(node, (ast.Expr, ast.For, ast.If, ast.With)) and _uses(node, name)


def _uses(node: ast.AST, name: str) -> bool:
    return any(isinstance(part, ast.Name) and part.id == name for part in ast.walk(node))
