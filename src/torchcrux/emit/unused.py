"""Definitions, imports and variables of a source that nothing mentions."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Collection, Iterator
from symtable import symtable
from typing import TypeAlias, get_args

from torchcrux.emit.source_lines import SourceLines, first_line, is_stub


def without_unused(text: str, used: Collection[str], *, bold: bool) -> str:
    """`text` without what binds names that neither it nor the rest of the script, which uses the
    names `used`, mentions. Methods and inner functions stay unless they are mere ``...``, and so do
    the attributes of a class.

    Unless `bold`, what may have an effect by being there stays: what a decorator or a base class
    has seen, and calls.
    """
    while True:
        source = _Mentioned(text, used)
        if not any(source.shortened(owner, bold=bold) for owner in _owners(source.tree)):
            return text
        text = source.text()


class _Mentioned(SourceLines):
    def __init__(self, text: str, used: Collection[str]) -> None:
        super().__init__(text)
        self._used = used
        self._mentions = _mentions(self.tree)
        self._globals = {
            id(node): _globals("\n".join(self.lines[first_line(node) - 1 : node.end_lineno]))
            for node in self.tree.body
        }

    def shortened(self, owner: _Owner, *, bold: bool) -> bool:
        """Take away what can go of a body; whether there was anything."""
        body, top = owner.body, owner is self.tree
        unused = [
            one
            for one in body
            if _can_go(one, owner, bold=bold)
            and not any(self._is_used(name, one) for name in _bound(one))
        ]
        gone = [one for one in unused if self.drop(one)]
        if gone and len(gone) == len(body) and not top:
            self.put("pass", body[0])
        imports = [one for one in body if isinstance(one, ast.ImportFrom) and one not in unused]
        return any([bool(gone), *map(self._narrowed, imports)])

    def _narrowed(self, node: ast.ImportFrom) -> bool:
        """Import only those names that are used; whether there are others."""
        bound = zip(node.names, _bound(node), strict=True)
        names = [alias for alias, name in bound if self._is_used(name, node)]
        if len(names) == len(node.names) or not self.drop(node):
            return False
        self.put(ast.unparse(ast.ImportFrom(node.module, names, node.level)), node)
        return True

    def _is_used(self, name: str, node: ast.stmt) -> bool:
        """Whether `name`, which `node` binds, is mentioned outside of it."""
        if name in self._used or name == "*":
            return True
        if id(node) not in self._globals:
            return self._mentions[name] > _mentions(node)[name]
        named = any(name in used for at, used in self._globals.items() if at != id(node))
        return named or self._mentions[repr(name)] > _mentions(node)[repr(name)]


_Owner: TypeAlias = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def _owners(tree: ast.Module) -> Iterator[_Owner]:
    return (node for node in ast.walk(tree) if isinstance(node, get_args(_Owner)))


def _can_go(node: ast.stmt, owner: _Owner, *, bold: bool) -> bool:
    """Whether it does nothing but bind names, as far as can be seen."""
    top = isinstance(owner, ast.Module)
    match node:
        case ast.FunctionDef(body=body) | ast.AsyncFunctionDef(body=body):
            return (bold and is_stub(body)) if node.decorator_list else (top or is_stub(body))
        case ast.ClassDef():
            return top and (bold or not (node.decorator_list or node.bases or node.keywords))
        case ast.Import() | ast.ImportFrom():
            return True
        case (
            ast.Assign(targets=[ast.Name()], value=value)
            | ast.AnnAssign(target=ast.Name(), value=ast.expr() as value)
        ):
            acts = not bold and any(isinstance(one, ast.Call) for one in ast.walk(value))
            return not (acts or isinstance(owner, ast.ClassDef))
    return False


def _bound(node: ast.stmt) -> list[str]:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return [node.name]
        case ast.Import() | ast.ImportFrom():
            return [(one.asname or one.name).partition(".")[0] for one in node.names]
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
    return []


def _globals(statement: str) -> set[str]:
    """The names that a statement at the top of a module looks up there."""
    found: set[str] = set()
    tables = [symtable(statement, "", "exec")]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        top = table.get_type() == "module"
        symbols = [one for one in table.get_symbols() if top or one.is_global()]
        found.update(one.get_name() for one in symbols if one.is_referenced())
    return found


def _mentions(tree: ast.AST) -> Counter[str]:
    """How often each name is used, as a variable, an attribute or a text; as a text alone, in
    quotes."""
    found: Counter[str] = Counter()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Load()) | ast.Attribute(attr=name):
                found[name] += 1
            case ast.Constant(value=str() as name):
                found.update((name, repr(name)))
            case ast.Global(names=names) | ast.Nonlocal(names=names):
                found.update(names)
    return found
