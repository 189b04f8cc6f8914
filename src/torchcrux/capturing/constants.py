"""Variables of a module that hold plain data: what they hold says more than how it was computed.

A draw of `random`, a loop that fills a table and what the environment says give something else in
another process; numbers, names and tables of them do not.
"""

from __future__ import annotations

import ast
import math
import os
from typing import Any

SHORT = 200
"""Characters of a value that is written in place of any expression."""
LONG = 2000
"""Of one in place of an expression that uses more than the language has."""


def is_plain(value: Any) -> bool:
    """Whether `repr` writes it as Python reads it."""
    if type(value) is float:
        return math.isfinite(value)
    return value is None or value is ... or type(value) in (bool, int, str, bytes)


def constant(name: str, node: ast.stmt, value: Any, *, alone: bool) -> str | None:
    """The assignment of `value` to `name` in place of the statement `node`; None if that is to
    stay: it says the same, or the value is no plain data, long, or of this machine. `alone` says
    that the statement uses nothing that the module defines or imports."""
    match node:
        case ast.Assign(targets=[ast.Name()], value=expression):
            pass
        case ast.AnnAssign(target=ast.Name(), value=ast.expr() as expression):
            pass
        case _:
            return None
    if not _is_data(value):
        return None
    text = repr(value)
    if len(text) > (SHORT if alone else LONG) or _is_literal(expression, value):
        return None
    return f"{name} = {text}"


def _is_data(value: Any) -> bool:
    match value:
        case str():
            return type(value) is str and not {"\n", os.sep} & {*value}
        case list() | tuple() | set() | frozenset():
            plain = type(value) in (list, tuple, set, frozenset)
            return plain and all(map(_is_data, value))
        case dict():
            return type(value) is dict and all(map(_is_data, [*value, *value.values()]))
    return is_plain(value)


def _is_literal(expression: ast.expr, value: Any) -> bool:
    try:
        return bool(ast.literal_eval(expression) == value)
    except ValueError:
        return False
