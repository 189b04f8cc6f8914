"""A name of a module's under another name, where several modules come to stand in one script."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Set

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


class Fixed(Exception):
    """A name that cannot be changed where it stands."""


def renamed(source: str, names: Mapping[str, str]) -> str:
    """The text of top-level statements with the global `names` that it binds or uses changed;
    nothing else of it is. Raises Fixed."""
    if not any(name in source for name in names):
        return source
    lines = source.encode().splitlines(keepends=True)
    places = {place for node in ast.parse(source).body for place in _places(node, {*names}, lines)}
    for line, column, name in sorted(places, reverse=True):
        text = lines[line - 1]
        lines[line - 1] = text[:column] + names[name].encode() + text[column + len(name.encode()) :]
    return b"".join(lines).decode()


def _places(node: ast.AST, names: Set[str], lines: list[bytes]) -> Iterator[tuple[int, int, str]]:
    """Line, from 1, column, in bytes, and name of all that refers to one of the global `names`."""
    match node:
        case ast.Name(id=name) if name in names:
            yield node.lineno, node.col_offset, name
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            if name in names:
                at = lines[node.lineno - 1].index(b" " + name.encode(), node.col_offset)
                yield node.lineno, at + 1, name
        case ast.Import(names=own) | ast.ImportFrom(names=own):
            if names & {*_imported(node)}:
                raise Fixed(own[0].name)
        case ast.JoinedStr() if names & _used(node):
            raise Fixed("an f-string")  # Python 3.11 does not tell what stands where in one
    if isinstance(node, _FUNCTIONS) and names & {*_declared(node)}:
        raise Fixed(node.name)
    if isinstance(node, ast.ClassDef) and names & {*_bound(node)} & _used(node):
        raise Fixed(node.name)  # its methods do not mean what its body binds
    inner = names - {*_own(node)}
    for child in ast.iter_child_nodes(node):
        yield from _places(child, names if _stands_outside(child, node) else inner, lines)


def _own(node: ast.AST) -> Iterator[str]:
    """The names that a scope binds for itself."""
    if isinstance(node, _COMPREHENSIONS):
        for one in node.generators:
            yield from _stored(one.target)
    elif isinstance(node, (ast.Lambda, *_FUNCTIONS)):
        args = node.args
        listed = [*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg]
        yield from (one.arg for one in listed if one is not None)
        yield from _bound(node)


def _bound(node: ast.AST) -> Iterator[str]:
    """The names that the statements of a function or class bind, without those of inner ones."""
    for child in ast.iter_child_nodes(node):
        yield from _stored(child)
        if isinstance(child, ast.ExceptHandler) and child.name:
            yield child.name
        elif isinstance(child, (ast.Import, ast.ImportFrom)):
            yield from _imported(child)
        if isinstance(child, (ast.ClassDef, *_FUNCTIONS)):
            yield child.name
        elif not isinstance(child, (ast.Lambda, *_COMPREHENSIONS)):
            yield from _bound(child)


def _stored(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id
    elif isinstance(node, (ast.Tuple, ast.List, ast.Starred)):
        for child in ast.iter_child_nodes(node):
            yield from _stored(child)


def _imported(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    return ((one.asname or one.name).partition(".")[0] for one in node.names)


def _declared(node: ast.AST) -> Iterator[str]:
    for one in ast.walk(node):
        if isinstance(one, ast.Global):
            yield from one.names


def _used(node: ast.AST) -> set[str]:
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}


def _stands_outside(child: ast.AST, scope: ast.AST) -> bool:
    """Whether a part of a function is evaluated where the function is defined."""
    if isinstance(scope, ast.Lambda):
        return child is scope.args
    return isinstance(scope, _FUNCTIONS) and child not in scope.body
