"""What was chosen of some modules, as one text in which each name means one thing."""

from __future__ import annotations

import ast
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from torchcrux.capturing.renaming import Fixed, renamed
from torchcrux.capturing.statements import Statement, is_import, needed_imports
from torchcrux.emit.calls import quoted
from torchcrux.program.source import spaced

_ALIAS = re.compile(r"\w+ = \w+(\.\w+)+")


@dataclass
class SlicedModule:
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
    namespaces: dict[int, list[tuple[str, str, list[str]]]] = field(default_factory=dict)
    """Modules that it imports: the name of each there, its own name, and what is used of it."""
    names: dict[str, str] = field(default_factory=dict)
    """Other names for some of those that it binds."""


class Selection:
    """Any number of modules, in the order in which they were first needed."""

    def __init__(self) -> None:
        self._modules: dict[str, SlicedModule] = {}

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

    def _renamed(self, module: SlicedModule, name: str) -> bool:
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

    def _bound_twice(self) -> Iterator[tuple[str, SlicedModule, SlicedModule]]:
        seen: dict[str, tuple[SlicedModule, str]] = {}
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
            if module.namespaces:
                imports["import types"] = None
            for i in sorted(module.chosen):
                node = module.statements[i].node
                if is_import(node) and i not in module.replaced:
                    for line in needed_imports(node, module.needed):
                        imports[line] = None
                else:
                    found = self._block(module, i, module.names)
                    blocks += [
                        one for one in found if not (_ALIAS.fullmatch(one) and one in blocks)
                    ]
        future = [line for line in imports if line.startswith("from __future__")]
        rest = [line for line in imports if not line.startswith("from __future__")]
        return "\n\n\n".join(filter(None, ["\n".join(future + rest), spaced(filter(None, blocks))]))

    def _block(self, module: SlicedModule, index: int, names: Mapping[str, str]) -> list[str]:
        """The text of a chosen statement. Raises Fixed."""
        statement = module.statements[index]
        texts = module.replaced.get(index, [_source(module, statement)])
        if "__file__" in statement.uses:
            names = {**names, "__file__": quoted(module.file)}
        spaces = [self._as_object(*one) for one in module.namespaces.get(index, ())]
        return [*spaces, *(renamed(text, names) for text in texts)]

    def _as_object(self, name: str, imported: str, used: list[str]) -> str:
        names = self._modules[imported].names
        given = ", ".join(f"{one}={names.get(one, one)}" for one in used)
        return f"{name} = types.SimpleNamespace({given})"

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


def _is_one(name: str, owner: SlicedModule, module: SlicedModule) -> bool:
    """Whether a name is bound to one object in both modules, by whatever statements."""
    first, second = vars(sys.modules[owner.name]), vars(sys.modules[module.name])
    return name in first and name in second and first[name] is second[name]


def _source(module: SlicedModule, statement: Statement) -> str:
    node = statement.node
    if statement.inner:
        return _source_inside(module, node)
    decorators = getattr(node, "decorator_list", [])
    first = min([node.lineno, *(item.lineno for item in decorators)])
    whole = first == 1 or node.col_offset == 0
    text = "".join(module.lines[first - 1 : node.end_lineno]).rstrip()
    return text if whole and ";" not in text.splitlines()[-1] else ast.unparse(node)


def _source_inside(module: SlicedModule, node: ast.stmt) -> str:
    """The text of a statement that stands in a block; written anew if it is no longer the same."""
    text = textwrap.dedent("".join(module.lines[node.lineno - 1 : node.end_lineno])).rstrip()
    try:
        found = [ast.dump(one) for one in ast.parse(text).body]
    except SyntaxError:
        found = []
    return text if found == [ast.dump(node)] else ast.unparse(node)
