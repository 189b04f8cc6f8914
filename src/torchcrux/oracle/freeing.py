"""The code of a script whose long functions give back memory as a graph does.

A variable of Python lives until its function returns. In twenty thousand lines that is every value
that was ever computed; a graph has each as long as something needs it, and so must a run of the
same calls without a compiler. The text stays as it is: only what is executed has deletions.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from types import CodeType

LONG = 200
"""Statements; a candidate that is no longer is executed as it is written."""

_SCOPES = (ast.FunctionDef, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def compiled(text: str, path: Path, longest: int = LONG) -> CodeType:
    """The code of `text`; a function of more than `longest` statements deletes its variables."""
    tree = ast.parse(text, str(path))
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef) and len(statement.body) > longest:
            _free(statement)
    return compile(tree, str(path), "exec", dont_inherit=True)


def _free(function: ast.FunctionDef) -> None:
    last: dict[str, ast.stmt] = {}
    kept = {arg.arg for arg in function.args.args}
    made: set[str] = set()
    for statement in _statements(function.body):
        for node in ast.walk(statement):
            if isinstance(node, _SCOPES) or isinstance(statement, ast.Return):
                kept.update(inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name))
            elif isinstance(node, ast.Name):
                last[node.id] = statement
                if isinstance(node.ctx, ast.Store):
                    made.add(node.id)
    gone: dict[ast.stmt, list[str]] = {}
    for name, statement in last.items():
        if name in made and name not in kept:
            gone.setdefault(statement, []).append(name)
    _delete(function.body, gone)


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """In order, those inside of scopes (``with``) one by one."""
    for statement in body:
        if isinstance(statement, ast.With):
            yield from _statements(statement.body)
        else:
            yield statement


def _delete(body: list[ast.stmt], gone: dict[ast.stmt, list[str]]) -> None:
    found: list[ast.stmt] = []
    for statement in body:
        found.append(statement)
        if isinstance(statement, ast.With):
            _delete(statement.body, gone)
        if names := gone.get(statement):
            targets: list[ast.expr] = [ast.Name(name, ast.Del()) for name in names]
            after = ast.copy_location(ast.Delete(targets), statement)
            found.append(ast.fix_missing_locations(after))
    body[:] = found
