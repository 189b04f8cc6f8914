"""The part of a module that some of its names need, and nothing else of it.

A slice is made of whole top-level statements in their original order: those that bind a needed
name, those that change the object bound to it, and, transitively, those that bind the names which
these use, also inside functions. Imports from modules that are not installed are replaced by
slices of those modules.
"""

from __future__ import annotations

import ast
import importlib.util
import linecache
import sys
import types
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path

from torchcrux.capturing.constants import constant
from torchcrux.capturing.fillers import Fillers
from torchcrux.capturing.filling import is_definition
from torchcrux.capturing.makers import Holds, Makers
from torchcrux.capturing.selection import Selection, SlicedModule
from torchcrux.capturing.statements import (
    Statement,
    analysed,
    analysed_inside,
    is_import,
    is_main_guard,
)
from torchcrux.capturing.underway import executed
from torchcrux.emit.layout import folded


class Slices(Selection):
    """Slices of any number of modules. `installed` tells the modules that may stay imports,
    `foreign` the statements that change what is needed, but for something else."""

    def __init__(
        self,
        installed: Callable[[types.ModuleType], bool],
        foreign: Callable[[ast.stmt, types.ModuleType], bool] = lambda node, module: False,
    ) -> None:
        super().__init__()
        self._installed = installed
        self._foreign = foreign

    def need(self, module: types.ModuleType, name: str) -> bool:
        """Add what `name` needs of `module`; False if no top-level statement binds it.

        Raises OSError if the module has no source, SyntaxError if it does not parse.
        """
        self._module(module).known_outside.add(name)
        return self._need(module, name)

    def _need(self, module: types.ModuleType, name: str) -> bool:
        known = self._module(module)
        if name in known.needed or name == "_":  # a name that nobody uses
            return True
        binding = [i for i, s in enumerate(known.statements) if name in s.binds]
        if not binding:
            return self._need_of_star(known, name)
        known.needed.add(name)
        changing = [
            i
            for i, s in enumerate(known.statements)
            if name in s.changes and not self._foreign(s.node, module)
        ]
        written = None if changing else self._constant(known, module, name, binding)
        if written is not None:
            known.chosen.add(binding[0])
            known.replaced[binding[0]] = written
            return True
        imported = all(is_import(known.statements[i].node) for i in binding)
        for i in sorted({*binding, *(() if imported else changing)}):
            self._choose(known, i, name)
        if not imported:
            self._fill(module, name)
        return True

    def _fill(self, module: types.ModuleType, name: str) -> None:
        """Add what fills the object bound to `name` from afar: in loops, by functions that do, or
        in other modules."""
        value = vars(module).get(name)
        home = sys.modules.get(type(value).__module__)
        theirs = home is None or self._installed(home)
        theirs = theirs and not isinstance(value, (dict, list, set))
        if isinstance(value, type):
            theirs = False  # its attributes may be tables
        elif theirs and is_definition(value):
            return
        fillers = Fillers(value, theirs=theirs, modules=self._own, statements=self._statements_of)
        self._choose_all(fillers.found())

    def take_calls(self, does: Holds) -> bool:
        """Add what does something inside what is underway, the calls of functions that do, and what
        these need; whether there are any. `does` tells it of a statement or a definition."""
        makers = Makers(self._own, self._statements_of, does)
        return self._choose_all(makers.calls(lambda one, module: one.inner and does(one, module)))

    def _statements_of(self, module: types.ModuleType) -> Sequence[Statement]:
        return self._module(module).statements

    def _choose_all(self, found: Iterable[tuple[types.ModuleType, Statement]]) -> bool:
        chosen = [(module, one) for module, one in found if not self._foreign(one.node, module)]
        for module, statement in chosen:
            known = self._module(module)
            alike = (i for i, one in enumerate(known.statements) if _are_alike(one, statement))
            index = next(alike, len(known.statements))
            known.statements[index:] = known.statements[index:] or [statement]
            self._choose(known, index, "")
        return bool(chosen)

    @cached_property
    def _own(self) -> list[types.ModuleType]:
        """The modules of the user's that have a file."""
        return [
            module
            for module in [*sys.modules.values()]
            if isinstance(module, types.ModuleType)
            and getattr(module, "__file__", None) is not None
            and not self._installed(module)
        ]

    def take(
        self, module: types.ModuleType, wanted: Callable[[ast.stmt], bool]
    ) -> Sequence[frozenset[str]]:
        """Add the `wanted` top-level statements and what they need; the names each of them binds.

        Raises as `need`.
        """
        known = self._module(module)
        taken = [i for i, s in enumerate(known.statements) if not s.inner and wanted(s.node)]
        for i in taken:
            self._choose(known, i, "")
        return [known.statements[i].binds - {"_"} for i in taken]

    def statements(self, module: types.ModuleType) -> list[ast.stmt]:
        """The top-level statements of `module`. Raises as `need`."""
        return [one.node for one in self._module(module).statements if not one.inner]

    def called(self, module: types.ModuleType) -> frozenset[str]:
        """The names of functions that a top-level statement is a call of."""
        values = [getattr(one, "value", None) for one in self.statements(module)]
        calls = [value.func for value in values if isinstance(value, ast.Call)]
        return frozenset(call.id for call in calls if isinstance(call, ast.Name))

    def assigned_from(self, module: types.ModuleType, name: str) -> frozenset[str] | None:
        """The names that the only statement to bind `name` uses, if it is an assignment."""
        binding = [one for one in self._module(module).statements if name in one.binds]
        if len(binding) != 1 or not isinstance(binding[0].node, (ast.Assign, ast.AnnAssign)):
            return None
        return binding[0].uses - {name}

    def changed_inside(self, module: types.ModuleType, name: str) -> bool:
        """Whether a function or class of `module` changes the object bound to `name`, or binds
        another one."""
        return any(name in one.inside for one in self._module(module).statements)

    def _constant(
        self, known: SlicedModule, module: types.ModuleType, name: str, binding: Sequence[int]
    ) -> list[str] | None:
        """The lines that give `name` its value, where they replace the one statement that does."""
        if len(binding) != 1 or name not in vars(module):
            return None
        statement = known.statements[binding[0]]
        alone = statement.uses.isdisjoint(vars(module))
        written = constant(name, statement.node, vars(module)[name], alone=alone)
        if written is None or self.changed_inside(module, name):
            return None
        return ["\n".join(folded([written]))]

    def _module(self, module: types.ModuleType) -> SlicedModule:
        if module.__name__ not in self._modules:
            file = getattr(module, "__file__", None)
            if file is None:
                raise OSError(f"the module {module.__name__} has no source file")
            try:
                lines = linecache.getlines(file, vars(module)) or _read(file)
                tree = ast.parse("".join(lines))
            except ValueError as error:
                raise OSError(f"{file} is not text") from error
            package = getattr(module, "__package__", None) or ""
            statements = [analysed(node) for node in tree.body if not is_main_guard(node)]
            statements += [analysed_inside(*one) for one in executed(module, tree)]
            self._modules[module.__name__] = SlicedModule(
                module.__name__, package, str(Path(file).absolute()), lines, statements
            )
        return self._modules[module.__name__]

    def _choose(self, module: SlicedModule, index: int, name: str) -> None:
        statement = module.statements[index]
        if is_import(statement.node):
            module.chosen.add(index)
            self._follow_import(module, index, name)
            return
        if index in module.chosen:
            return
        module.chosen.add(index)
        loaded = sys.modules[module.name]
        for used in sorted(statement.uses | statement.binds):
            self._need(loaded, used)

    def _follow_import(self, module: SlicedModule, index: int, name: str) -> None:
        """Replace the import of `name` by a slice if it comes from a module not installed."""
        node = module.statements[index].node
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = sys.modules.get(alias.name)
                bound = alias.asname or alias.name.partition(".")[0]
                if bound == name and top is not None and not self._installed(top):
                    self._namespace(module, index, top, name)
        elif isinstance(node, ast.ImportFrom):
            source = self._origin(module, node)
            if source is None or self._installed(source):
                return
            for alias in node.names:
                if (alias.asname or alias.name) != name:
                    continue
                texts = module.replaced.setdefault(index, [])
                inner = sys.modules.get(f"{source.__name__}.{alias.name}")
                if isinstance(inner, types.ModuleType):
                    self._namespace(module, index, inner, name)
                elif self.need(source, alias.name):
                    module.after.append(source.__name__)
                    if alias.asname and alias.asname != alias.name:
                        texts.append(f"{alias.asname} = {alias.name}")

    def _namespace(
        self, module: SlicedModule, index: int, imported: types.ModuleType, name: str
    ) -> None:
        """A module that is not installed, as an object with the attributes that are used."""
        module.replaced.setdefault(index, [])
        used = sorted(
            {
                node.attr
                for statement in module.statements
                for node in ast.walk(statement.node)
                if isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == name
            }
        )
        found = [attribute for attribute in used if self._need(imported, attribute)]
        module.after.append(imported.__name__)
        module.namespaces.setdefault(index, []).append((name, imported.__name__, found))

    def _need_of_star(self, module: SlicedModule, name: str) -> bool:
        for index, statement in enumerate(module.statements):
            node = statement.node
            if not isinstance(node, ast.ImportFrom) or node.names[0].name != "*":
                continue
            source = self._origin(module, node)
            if source is None or not hasattr(source, name):
                continue
            module.needed.add(name)
            module.chosen.add(index)
            if not self._installed(source) and self.need(source, name):
                module.after.append(source.__name__)
                module.replaced.setdefault(index, [])
            return True
        return False

    def _origin(self, module: SlicedModule, node: ast.ImportFrom) -> types.ModuleType | None:
        name = node.module or ""
        if node.level:
            name = importlib.util.resolve_name("." * node.level + name, module.package)
        return sys.modules.get(name)


def _read(file: str) -> list[str]:
    return Path(file).read_text(encoding="utf-8").splitlines(keepends=True)


def _are_alike(one: Statement, other: Statement) -> bool:
    return one is other or (one.inner and ast.dump(one.node) == ast.dump(other.node))
