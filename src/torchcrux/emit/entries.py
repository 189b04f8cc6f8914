"""Entries of tables whose functions are never called.

What was never executed is a stub by now (``...``). A table names it nevertheless: as the value of
an item, alone or in a tuple, by its name or through an object that stands for a module.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TypeGuard

from torchcrux.emit.layout import double_quoted, folded
from torchcrux.emit.source_lines import SourceLines, is_stub


def without_entries(text: str) -> str:
    """`text` without the items of dicts that hold nothing but stubs, the statements that set such
    an item, also by a method, and what of an object that stands for a module is a stub and not
    used."""
    shorter = _shortened(text)
    return text if shorter == text else without_entries(shorter)


def _shortened(text: str) -> str:
    source = SourceLines(text)
    dead = _Dead(source.tree)
    for owner in ast.walk(source.tree):
        body = getattr(owner, "body", None)
        if not isinstance(body, list):
            continue
        gone = [one for one in body if dead.is_item(one) and source.drop(one)]
        if gone and len(gone) == len(body) and owner is not source.tree:
            source.put("pass", body[0])
    for node in source.tree.body:
        if isinstance(node, (ast.Assign, ast.AnnAssign, ast.Expr)):
            changed = dead.without(node)
            if changed is not None and source.drop(node):
                source.put("\n".join(folded([double_quoted(ast.unparse(changed))])), node)
    return source.text()


class _Dead:
    def __init__(self, tree: ast.Module) -> None:
        functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
        self._stubs = {node.name for node in functions if is_stub(node.body)}
        self._objects = dict(_objects(tree))
        self._uses = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}

    def is_item(self, node: ast.stmt) -> bool:
        match node:
            case ast.Assign(targets=[ast.Subscript()], value=value):
                return self._is_dead(value)
            case ast.Expr(value=ast.Call(func=ast.Attribute(), args=given, keywords=[])):
                dead = [one for one in given if self._is_dead(one)]
                rest = [one for one in given if not self._is_dead(one)]
                return bool(dead) and all(isinstance(one, ast.Constant) for one in rest)
        return False

    def without(self, node: ast.stmt) -> ast.stmt | None:
        """A statement without the items of its dicts that are dead; None if there are none."""
        found = _Without(self._is_dead, self._uses)
        changed = found.visit(node)
        return changed if found.used else None

    def _is_dead(self, node: ast.expr) -> bool:
        match node:
            case ast.Name(id=name):
                return name in self._stubs
            case ast.Attribute(value=ast.Name(id=name), attr=attr):
                held = self._objects.get(name, {}).get(attr)
                return held is not None and self._is_dead(held)
            case ast.Tuple(elts=[_, *_] as items) | ast.List(elts=[_, *_] as items):
                return all(map(self._is_dead, items))
        return False


class _Without(ast.NodeTransformer):
    def __init__(self, is_dead: Callable[[ast.expr], bool], uses: Collection[str]) -> None:
        self._is_dead = is_dead
        self._uses = uses
        self.used = False

    def visit_Dict(self, node: ast.Dict) -> ast.expr:
        self.generic_visit(node)
        pairs = [*zip(node.keys, node.values, strict=True)]
        left = [(key, value) for key, value in pairs if not self._is_dead(value)]
        if len(left) == len(pairs):
            return node
        self.used = True
        return ast.Dict([key for key, _ in left], [value for _, value in left])

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        if not _makes_an_object(node):
            return node
        left = [
            one for one in node.keywords if one.arg in self._uses or not self._is_dead(one.value)
        ]
        self.used |= len(left) < len(node.keywords)
        node.keywords = left
        return node


def _makes_an_object(node: ast.expr) -> TypeGuard[ast.Call]:
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "types.SimpleNamespace"


def _objects(tree: ast.Module) -> Iterator[tuple[str, Mapping[str, ast.expr]]]:
    """What objects that stand for modules hold, by their names."""
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if _makes_an_object(value):
                yield name, {one.arg: one.value for one in value.keywords if one.arg}
