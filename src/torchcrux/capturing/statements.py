"""One top-level statement of a module: the names that it binds, changes and uses."""

from __future__ import annotations

import ast
import symtable
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from torchcrux.capturing import filling
from torchcrux.capturing.filling import changed, changed_inside


@dataclass(eq=False)
class Statement:
    """`changes` are names whose objects it changes, `inside` those that its functions do. If it is
    an `inner` one, it stands in a block of something else, where the `local` names are not those of
    the module, and says nothing about what a name is."""

    node: ast.stmt
    binds: frozenset[str]
    changes: frozenset[str]
    uses: frozenset[str]
    inside: frozenset[str]
    inner: bool = False
    local: frozenset[str] = frozenset()

    @cached_property
    def fills(self) -> set[str]:
        return filling.fills(self.node)

    @cached_property
    def hands(self) -> set[str]:
        return filling.handed(self.node)

    @cached_property
    def hands_inside(self) -> set[str]:
        return filling.handed_inside(self.node)

    @cached_property
    def fills_arguments(self) -> bool:
        """Whether it defines a function that fills what it is given."""
        node = self.node
        return isinstance(node, ast.FunctionDef) and bool(filling.filled_parameters(node))

    @cached_property
    def attributes(self) -> set[str]:
        """Attributes that are used anywhere in it, but those of regular expressions."""
        found = (one for one in ast.walk(self.node) if isinstance(one, ast.Attribute))
        return {one.attr for one in found if getattr(one.value, "id", "") != "re"}

    @cached_property
    def calls(self) -> list[filling.Call]:
        return filling.calls(self.node)

    @cached_property
    def calls_inside(self) -> list[filling.Call]:
        return filling.calls_inside(self.node)


def is_import(node: ast.stmt) -> bool:
    return isinstance(node, (ast.Import, ast.ImportFrom))


def needed_imports(node: ast.stmt, needed: set[str]) -> Iterator[str]:
    """The import statement with only the names that are needed."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            if (alias.asname or alias.name.partition(".")[0]) in needed:
                yield ast.unparse(ast.Import([alias]))
    elif isinstance(node, ast.ImportFrom):
        names = [a for a in node.names if a.name == "*" or (a.asname or a.name) in needed]
        yield ast.unparse(ast.ImportFrom(node.module, names, node.level))


def is_main_guard(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and any(
        isinstance(part, ast.Name) and part.id == "__name__" for part in ast.walk(node.test)
    )


def analysed_inside(node: ast.stmt, local: frozenset[str]) -> Statement:
    one, nothing = analysed(node), frozenset[str]()
    used = one.uses - one.binds
    return Statement(node, nothing, nothing, used, nothing, inner=True, local=local)


def analysed(node: ast.stmt) -> Statement:
    binds = frozenset(bound(node))
    changes = frozenset(changed(node)) - binds
    table = symtable.symtable(ast.unparse(node), "<statement>", "exec")
    inside = frozenset(changed_inside(node))
    return Statement(node, binds, changes, frozenset(_used(table)), inside)


def _used(table: symtable.SymbolTable) -> Iterator[str]:
    """Names of the module that a scope, and those inside it, refer to."""
    for symbol in table.get_symbols():
        if symbol.is_referenced() and (table.get_type() == "module" or symbol.is_global()):
            yield symbol.get_name()
    for inner in table.get_children():
        yield from _used(inner)


def bound(node: ast.AST) -> Iterator[str]:
    """Names that a statement binds in the scope it stands in."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            yield node.name
            return
        case ast.Lambda():
            return
        case ast.Import():
            yield from (a.asname or a.name.partition(".")[0] for a in node.names)
        case ast.ImportFrom():
            yield from (a.asname or a.name for a in node.names if a.name != "*")
        case ast.Name(id=name, ctx=ast.Store()):
            yield name
        case ast.ExceptHandler(name=str(name)):
            yield name
    for child in ast.iter_child_nodes(node):
        yield from bound(child)
