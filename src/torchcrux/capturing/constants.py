"""Variables of a module that hold plain data: what they hold says more than how it was computed.

A draw of `random`, a loop that fills a table and what the environment says give something else in
another process; numbers and tables of them do not. Text is another matter: what was read from
somewhere may be nobody's business, and stays the expression that reads it.
"""

from __future__ import annotations

import ast
import math
import os
import re
from typing import Any

from torchcrux.emit.calls import quoted

SHORT = 200
"""Characters of a value that is written in place of any expression."""
LONG = 2000
"""Of one in place of an expression that uses more than the language has."""

LEAST_SECRET = 8
"""Characters from which on the value of a variable is told from a word that happens to be one."""

_SECRET = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|(API|ACCESS|PRIVATE|AUTH)_?KEY", re.IGNORECASE)
_READING = {"open", "input", "__import__", "eval", "exec"}


def is_plain(value: Any) -> bool:
    """Whether `repr` writes it as Python reads it."""
    if type(value) is float:
        return math.isfinite(value)
    return value is None or value is ... or type(value) in (bool, int, str, bytes)


def without_secrets(value: str) -> str:
    """A string as an expression. What the environment holds under a name that says that it is
    secret is read from there: a repro is to be shown to others."""
    for name, secret in os.environ.items():
        if _SECRET.search(name) and len(secret) >= LEAST_SECRET and secret in value:
            read = f'os.environ.get({quoted(name)}, "")'
            around = [without_secrets(part) if part else "" for part in value.split(secret)]
            parts = [part for one in around for part in (read, one)]
            return " + ".join(filter(None, parts[1:]))
    return quoted(value)


def constant(name: str, node: ast.stmt, value: Any, *, alone: bool) -> str | None:
    """The assignment of `value` to `name` in place of the statement `node`; None if that is to
    stay: it says the same, or the value is no plain data, or long, or has text and was not written
    in place. `alone` says that the statement uses nothing that the module defines or imports."""
    match node:
        case ast.Assign(targets=[ast.Name()], value=expression):
            pass
        case ast.AnnAssign(target=ast.Name(), value=ast.expr() as expression):
            pass
        case _:
            return None
    reads = {one.id for one in ast.walk(expression) if isinstance(one, ast.Name)} & _READING
    if not _is_data(value, text=alone and not reads):
        return None
    text = repr(value)
    if len(text) > (SHORT if alone else LONG) or _is_literal(expression, value):
        return None
    return f"{name} = {text}"


def _is_data(value: Any, *, text: bool) -> bool:
    """Whether it is made of numbers; with `text`, of strings of one line as well, but no paths."""
    match value:
        case str():
            return text and type(value) is str and not {"\n", os.sep} & {*value}
        case bytes():
            return text and type(value) is bytes
        case list() | tuple() | set() | frozenset():
            plain = type(value) in (list, tuple, set, frozenset)
            return plain and all(_is_data(one, text=text) for one in value)
        case dict():
            parts = [*value, *value.values()]
            return type(value) is dict and all(_is_data(one, text=text) for one in parts)
    return is_plain(value)


def _is_literal(expression: ast.expr, value: Any) -> bool:
    try:
        return bool(ast.literal_eval(expression) == value)
    except ValueError:
        return False
