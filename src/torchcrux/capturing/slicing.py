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
import textwrap
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from torchcrux.capturing.constants import constant
from torchcrux.capturing.fillers import Fillers
from torchcrux.capturing.filling import is_definition
from torchcrux.capturing.makers import Holds, Makers
from torchcrux.capturing.renaming import Fixed, renamed
from torchcrux.capturing.statements import (
    Statement,
    analysed,
    analysed_inside,
    is_import,
    is_main_guard,
    needed_imports,
)
from torchcrux.capturing.underway import executed
from torchcrux.emit.calls import quoted
from torchcrux.emit.layout import folded
from torchcrux.program.source import spaced


@dataclass
class _Module:
    name: str
    package: str
    file: str
    lines: list[str]
    statements: list[Statement]
    chosen: set[int] = field(default_factory=set)
    needed: set[str] = field(default_factory=set)
    replaced: dict[int, list[str]] = field(default_factory=dict)
    after: list[str] = field(default_factory=list)
    known_outside: set[str] = field(default_factory=set)
    names: dict[str, str] = field(default_factory=dict)
    """Other names for some of those that it binds."""


class Slices:
    """Slices of any number of modules. `installed` tells the modules that may stay imports,
    `foreign` the statements that change what is needed, but for something else."""

    def __init__(
        self,
        installed: Callable[[types.ModuleType], bool],
        foreign: Callable[[ast.stmt, types.ModuleType], bool] = lambda node, module: False,
    ) -> None:
        self._installed = installed
        self._foreign = foreign
        self._modules: dict[str, _Module] = {}

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
        if theirs and is_definition(value):
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
        self, known: _Module, module: types.ModuleType, name: str, binding: Sequence[int]
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

    def names(self) -> set[str]:
        """All names that the slices bind."""
        return {
            module.names.get(name, name)
            for module in self._modules.values()
            for i in module.chosen
            for name in module.statements[i].binds
        }

    def clashes(self) -> list[str]:
        """Names that several modules bind to different things, and that must stay as they are.
        Others are given another name in one of them, if only that knows of it."""
        clashes = []
        for name, *modules in self._bound_twice():
            private = [one for one in reversed(modules) if name not in one.known_outside]
            if not any(self._renamed(one, name) for one in private):
                clashes.append(name)
        return clashes

    def _renamed(self, module: _Module, name: str) -> bool:
        """Have `module` call something otherwise than `name`; whether that is possible."""
        other = f"{module.name.rpartition('.')[2]}_{name}"
        while other in self.names():
            other += "_"
        names = {**module.names, name: other}
        try:
            for i in module.chosen:
                self._block(module, i, names)
        except Fixed:
            return False
        module.names = names
        return True

    def _bound_twice(self) -> Iterator[tuple[str, _Module, _Module]]:
        seen: dict[str, tuple[_Module, str]] = {}
        for module in self._modules.values():
            for i in sorted(module.chosen):
                statement = module.statements[i]
                if i in module.replaced and is_import(statement.node):
                    continue
                text = "".join(module.replaced.get(i, ())) or ast.unparse(statement.node)
                for name in (statement.binds & module.needed) - {*module.names}:
                    owner, other = seen.setdefault(name, (module, text))
                    if owner is not module and other != text and not _is_one(name, owner, module):
                        yield name, owner, module

    def text(self) -> str:
        """The slices, a module after those it imports from; each import is there once."""
        ordered: list[str] = []
        for name in self._modules:
            self._visit(name, ordered)
        imports: dict[str, None] = {}
        blocks: list[str] = []
        for name in ordered:
            module = self._modules[name]
            for i in sorted(module.chosen):
                node = module.statements[i].node
                if is_import(node) and i not in module.replaced:
                    for line in needed_imports(node, module.needed):
                        imports[line] = None
                else:
                    blocks += self._block(module, i, module.names)
        future = [line for line in imports if line.startswith("from __future__")]
        rest = [line for line in imports if not line.startswith("from __future__")]
        return "\n\n\n".join(filter(None, ["\n".join(future + rest), spaced(filter(None, blocks))]))

    def _block(self, module: _Module, index: int, names: Mapping[str, str]) -> list[str]:
        """The text of a chosen statement. Raises Fixed."""
        statement = module.statements[index]
        texts = module.replaced.get(index, [_source(module, statement)])
        if "__file__" in statement.uses:
            names = {**names, "__file__": quoted(module.file)}
        return [renamed(text, names) for text in texts]

    def located(self) -> list[str]:
        """The files of modules whose slices look for something beside them."""
        return [
            module.file
            for module in self._modules.values()
            if any("__file__" in module.statements[i].uses for i in module.chosen)
        ]

    def _visit(self, name: str, ordered: list[str], path: tuple[str, ...] = ()) -> None:
        if name in ordered or name in path:
            return
        for other in self._modules[name].after:
            self._visit(other, ordered, (*path, name))
        ordered.append(name)

    def _module(self, module: types.ModuleType) -> _Module:
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
            self._modules[module.__name__] = _Module(
                module.__name__, package, str(Path(file).absolute()), lines, statements
            )
        return self._modules[module.__name__]

    def _choose(self, module: _Module, index: int, name: str) -> None:
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

    def _follow_import(self, module: _Module, index: int, name: str) -> None:
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
        self, module: _Module, index: int, imported: types.ModuleType, name: str
    ) -> None:
        """A module that is not installed, as an object with the attributes that are used."""
        texts = module.replaced.setdefault(index, [])
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
        bound = [attribute for attribute in used if self.need(imported, attribute)]
        module.after.append(imported.__name__)
        given = ", ".join(f"{attribute}={attribute}" for attribute in bound)
        texts.append(f"import types\n\n{name} = types.SimpleNamespace({given})")

    def _need_of_star(self, module: _Module, name: str) -> bool:
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

    def _origin(self, module: _Module, node: ast.ImportFrom) -> types.ModuleType | None:
        name = node.module or ""
        if node.level:
            name = importlib.util.resolve_name("." * node.level + name, module.package)
        return sys.modules.get(name)


def _is_one(name: str, owner: _Module, module: _Module) -> bool:
    """Whether a name is bound to one object in both modules, by whatever statements."""
    first, second = vars(sys.modules[owner.name]), vars(sys.modules[module.name])
    return name in first and name in second and first[name] is second[name]


def _read(file: str) -> list[str]:
    return Path(file).read_text(encoding="utf-8").splitlines(keepends=True)


def _are_alike(one: Statement, other: Statement) -> bool:
    return one is other or (one.inner and ast.dump(one.node) == ast.dump(other.node))


def _source(module: _Module, statement: Statement) -> str:
    node = statement.node
    if statement.inner:
        return _source_inside(module, node)
    decorators = getattr(node, "decorator_list", [])
    first = min([node.lineno, *(item.lineno for item in decorators)])
    whole = first == 1 or node.col_offset == 0
    text = "".join(module.lines[first - 1 : node.end_lineno]).rstrip()
    return text if whole and ";" not in text.splitlines()[-1] else ast.unparse(node)


def _source_inside(module: _Module, node: ast.stmt) -> str:
    """The text of a statement that stands in a block; written anew if it is no longer the same."""
    text = textwrap.dedent("".join(module.lines[node.lineno - 1 : node.end_lineno])).rstrip()
    try:
        found = [ast.dump(one) for one in ast.parse(text).body]
    except SyntaxError:
        found = []
    return text if found == [ast.dump(node)] else ast.unparse(node)
