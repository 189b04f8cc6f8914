"""A live object as an expression, together with the definitions that the expression needs.

Top-level functions, classes and variables come as slices of their modules. A function that was
made inside another one becomes a small factory, whose body assigns its free variables.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import sys
import textwrap
import types
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torchcrux import _torch
from torchcrux.capturing.constants import is_plain, without_secrets
from torchcrux.capturing.slicing import Slices
from torchcrux.emit.calls import quoted
from torchcrux.emit.layout import folded

_DEFINITIONS = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType)


class Inexpressible(Exception):
    """An object that no text can make again; the message says what it is."""


class Expressions:
    """Collects the definitions of all expressions asked for. `installed` tells the modules that
    may be imported; the rest is sliced."""

    def __init__(self, installed: Callable[[types.ModuleType], bool]) -> None:
        self._installed = installed
        self._slices = Slices(installed)
        self._imports: dict[str, None] = {}
        self._definitions: list[str] = []
        self._made: dict[int, tuple[Any, str]] = {}
        self._making: list[int] = []

    def add(self, definition: str) -> None:
        self._definitions.append(definition)

    def assign(self, name: str, expression: str) -> None:
        self.add(_folded(f"{name} = {expression}"))

    def text(self) -> str:
        """All definitions, in an order in which they run."""
        clashes = self._slices.clashes()
        if clashes:
            raise Inexpressible(f"several of its modules define {clashes[0]}")
        parts = ["\n".join(self._imports), self._slices.text(), "\n\n\n".join(self._definitions)]
        return "\n\n\n".join(part for part in parts if part) + "\n"

    def located(self) -> str:
        """A sentence, if the definitions look for something beside their files; else empty."""
        files = self._slices.located()
        return f"The code that comes along reads what lies beside {', '.join(files)}." * bool(files)

    def unused(self, name: str) -> str:
        """`name`, or a variation of it that no definition has taken."""
        taken = self._slices.names() | {made for _, made in self._made.values()}
        while name in taken or hasattr(builtins, name):
            name += "_"
        return name

    def of(self, value: Any) -> str:
        """The expression for `value`. Raises Inexpressible."""
        if isinstance(value, str) and is_plain(value):
            written = without_secrets(value)
            if written != quoted(value):
                self._imports["import os"] = None
            return written
        if is_plain(value):
            return repr(value)
        if type(value) is float:
            return f'float("{value}")'
        if id(value) in self._made:
            return self._made[id(value)][1]
        if id(value) in self._making:
            raise Inexpressible("it refers to itself")
        self._making.append(id(value))
        try:
            text = self._made_of(value)
        finally:
            self._making.pop()
        if text.isidentifier():
            self._made[id(value)] = (value, text)
        return text

    def _made_of(self, value: Any) -> str:
        match value:
            case tuple() if type(value) is tuple:
                return f"({', '.join(map(self.of, value))}{',' * (len(value) == 1)})"
            case list() if type(value) is list:
                return f"[{', '.join(map(self.of, value))}]"
            case dict() if type(value) is dict or _torch.is_decomposition_table(value):
                return self._dict(value)
            case types.ModuleType():
                return self._module(value)
            case partial():
                self._imports["import functools"] = None
                given = [self.of(value.func), *map(self.of, value.args)]
                given += [f"{key}={self.of(item)}" for key, item in value.keywords.items()]
                return f"functools.partial({', '.join(given)})"
            case types.MethodType():
                return f"{self.of(value.__self__)}.{value.__func__.__name__}"
        named = self._by_name(value)
        if named is not None:
            return named
        if isinstance(value, types.FunctionType):
            return self._factory(value)
        if type(value).__module__ == "torch" and type(value).__name__ in ("dtype", "device"):
            self._imports["import torch"] = None
            return f"torch.{value!r}" if type(value).__name__ == "device" else str(value)
        operator = _torch.operator_name(value) or _builtin_of_torch(value)
        if operator:
            self._imports["import torch"] = None
            return operator
        variable = self._variable(value)
        if variable is not None:
            return variable
        arguments = _torch.aot_autograd_arguments(value)
        if arguments is not None:
            return self._aot_autograd(arguments)
        if hasattr(value, "__dict__") and not isinstance(value, type):
            return self._instance(value)
        raise Inexpressible(f"it uses an object of type {type(value).__qualname__}")

    def _dict(self, value: dict[Any, Any]) -> str:
        ours, rest = _torch.decomposed(dict(value.items()))
        if ours:
            self._imports["import torch"] = None
        pairs = [f"{self.of(key)}: {self.of(item)}" for key, item in rest.items()]
        if len(ours) == 1 and not pairs:
            return ours[0]
        return f"{{{', '.join([*(f'**{one}' for one in ours), *pairs])}}}"

    def _module(self, module: types.ModuleType) -> str:
        if not self._installed(module):
            raise Inexpressible(f"it uses the whole module {module.__name__}")
        self._imports[f"import {module.__name__}"] = None
        return module.__name__

    def _by_name(self, value: Any) -> str | None:
        """The qualified name of a function or class that its module still holds under it."""
        module = sys.modules.get(getattr(value, "__module__", None) or "")
        name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
        if module is None or not isinstance(name, str) or "<" in name:
            return None
        found: Any = module
        for part in name.split("."):
            found = getattr(found, part, None)
        if found is not value:
            return None
        if self._installed(module):
            self._imports[f"import {module.__name__}"] = None
            return f"{module.__name__}.{name}"
        if not self._slices.need(module, name.partition(".")[0]):
            return None
        return name

    def _variable(self, value: Any) -> str | None:
        """The top-level variable of the user's that holds `value`, if its assignment needs
        nothing but definitions and constants: then it can be made as it was."""
        for module in [*sys.modules.values()]:
            names = [name for name, held in _variables(module) if held is value]
            if not names or self._installed(module):
                continue
            for name in names:
                if self._is_made_of_definitions(module, name) and self._slices.need(module, name):
                    return name
        return None

    def _is_made_of_definitions(
        self, module: types.ModuleType, name: str, above: tuple[str, ...] = ()
    ) -> bool:
        used = self._slices.assigned_from(module, name)
        if used is None or name in above:
            return False
        known = {**vars(builtins), **vars(module)}
        return all(
            isinstance(known.get(one), _DEFINITIONS)
            or (
                (is_plain(known.get(one)) or self._is_constant(module, one, known.get(one)))
                and self._is_made_of_definitions(module, one, (*above, name))
            )
            for one in used
        )

    def _is_constant(self, module: types.ModuleType, name: str, value: Any) -> bool:
        """Whether it is a collection that no function of the module fills."""
        if type(value) not in (tuple, list, dict, set, frozenset):
            return False
        return not self._slices.changed_inside(module, name)

    def _instance(self, value: Any) -> str:
        cls = type(value)
        if any(vars(base).get("__slots__") for base in cls.__mro__):
            raise Inexpressible(f"it uses an object of type {cls.__qualname__}")
        constructor = self._by_name(cls)
        if constructor is None:
            raise Inexpressible(f"it uses an object of the class {cls.__qualname__}")
        if not vars(value) and not _has_constructor(cls):
            return f"{constructor}()"
        name = self.unused(cls.__name__.lower())
        known, count = dict(self._made), len(self._definitions)
        try:
            return self._from_state(value, name, constructor)
        except Inexpressible:
            self._made, self._definitions[count:] = known, []
            arguments = self._constructing(value)
            if arguments is None:
                raise
        self.assign(name, f"{constructor}({', '.join(arguments)})")
        return name

    def _constructing(self, value: Any) -> list[str] | None:
        """What a class of the user's was probably given for an object: the attributes that are
        called like the arguments. None if one of those that it must have is not to be had."""
        module = sys.modules.get(type(value).__module__)
        if module is None or self._installed(module):
            return None  # what has been done with it since is all that makes it what it is
        try:
            parameters = inspect.signature(type(value)).parameters.values()
        except (TypeError, ValueError):
            return None
        state = vars(value)
        arguments = []
        for one in parameters:
            needed = one.default is one.empty
            if one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD):
                continue
            held = state.get(one.name, state.get(f"_{one.name}", one.empty))
            try:
                if held is not one.empty and held is not one.default:
                    arguments.append(f"{one.name}={self.of(held)}")
                elif needed:
                    return None
            except Inexpressible:
                if needed:
                    return None
        return arguments

    def _from_state(self, value: Any, name: str, constructor: str) -> str:
        self._made[id(value)] = (value, name)  # its state may refer to it
        made = f"{name} = {constructor}.__new__({constructor})"
        self.add(made)
        state = self.of(dict(vars(value)))
        if self._definitions[-1] == made:
            self._definitions.pop()
            self.add(f"{made}\n{_folded(f'vars({name}).update({state})')}")
        else:
            self.add(_folded(f"vars({name}).update({state})"))
        return name

    def _aot_autograd(self, arguments: Mapping[str, Any]) -> str:
        self._imports["from torch._dynamo.backends.common import aot_autograd"] = None
        given = [f"{key}={self.of(value)}" for key, value in arguments.items()]
        return f"aot_autograd({', '.join(given)})"

    def _factory(self, function: types.FunctionType) -> str:
        """A function of a function: its free variables are assigned in a scope of their own."""
        node = _definition(function)
        module = sys.modules.get(function.__module__)
        if module is None:
            raise Inexpressible(f"the module {function.__module__} of {function.__name__} is gone")
        cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
        own = "" if isinstance(node, ast.Lambda) else node.name  # `__name__` may be another by now
        lines = []
        for variable, cell in cells.items():
            if variable == "__class__":
                raise Inexpressible(f"{function.__name__} uses super()")
            try:
                content = cell.cell_contents
            except ValueError as error:
                raise Inexpressible(f"{variable} has no value yet") from error
            if content is function and variable == own:
                continue
            expressed = self.of(content)
            if expressed != variable:
                lines.append(f"{variable} = {expressed}")
        _set_defaults(node, function, self.of)
        for used in {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} - set(cells):
            self._slices.need(module, used)
        stem = own.strip("_") if own and own != "_" else "backend"
        made = self.unused(stem)
        if isinstance(node, ast.Lambda) and not lines:
            return ast.unparse(node)
        if isinstance(node, ast.Lambda):
            body = [*lines, f"return {ast.unparse(node)}"]
        elif not lines and own == made:
            self.add(ast.unparse(node))
            return made
        else:
            body = [*lines, ast.unparse(node), f"return {own}"]
        inner = textwrap.indent("\n".join(body), "    ")
        maker = f"_make_{made}"
        self.add(f"def {maker}():\n{inner}\n\n\n{made} = {maker}()")
        self._made[id(function)] = (function, made)
        return made


def _builtin_of_torch(value: Any) -> str:
    """The name of a function that PyTorch has from C++, which knows no module."""
    torch = sys.modules.get("torch")
    name = getattr(value, "__name__", "")
    builtin = isinstance(value, types.BuiltinFunctionType)
    return f"torch.{name}" if builtin and getattr(torch, name, None) is value else ""


def _folded(line: str) -> str:
    return "\n".join(folded([line]))


def _has_constructor(cls: type) -> bool:
    return any({"__init__", "__new__"} & vars(base).keys() for base in cls.__mro__[:-1])


def _variables(module: Any) -> list[tuple[str, Any]]:
    """The variables of a module, none for whatever else lies in `sys.modules`."""
    return [*vars(module).items()] if isinstance(module, types.ModuleType) else []


def _definition(function: types.FunctionType) -> ast.FunctionDef | ast.Lambda:
    """The syntax of a function, without decorators and annotations."""
    code = function.__code__
    try:
        lines, _ = inspect.findsource(function)
    except (OSError, TypeError) as error:
        raise Inexpressible(f"the source of {function.__name__} is not to be had") from error
    tree = ast.parse("".join(lines))
    found: list[ast.FunctionDef | ast.Lambda] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Lambda) and code.co_name == "<lambda>":
            if node.lineno == code.co_firstlineno and _is_of(node, code):
                found.append(node)
        elif isinstance(node, ast.FunctionDef) and node.name == code.co_name:
            first = min([node.lineno, *(item.lineno for item in node.decorator_list)])
            if code.co_firstlineno in (first, node.lineno):
                found.append(node)
    if len(found) != 1:
        raise Inexpressible(
            f"line {code.co_firstlineno} of {code.co_filename} does not tell which function it is"
        )
    (node,) = found
    if isinstance(node, ast.FunctionDef):
        node.decorator_list = []
        node.returns = None
    for argument in ast.walk(node.args):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    return node


def _is_of(node: ast.Lambda, code: types.CodeType) -> bool:
    """Whether `code` may come from this lambda and not from another one of its line."""
    whole = compile(ast.Expression(node), "", "eval")
    (alone,) = (const for const in whole.co_consts if isinstance(const, types.CodeType))
    used = {*code.co_names, *code.co_freevars}
    return used == set(alone.co_names) and code.co_varnames == alone.co_varnames


def _set_defaults(
    node: ast.FunctionDef | ast.Lambda, function: types.FunctionType, of: Callable[[Any], str]
) -> None:
    """Replace the expressions of default values by the values they had."""

    def syntax(value: Any) -> ast.expr:
        return ast.parse(of(value), mode="eval").body

    node.args.defaults = [syntax(value) for value in function.__defaults__ or ()]
    keywords = function.__kwdefaults__ or {}
    node.args.kw_defaults = [
        syntax(keywords[argument.arg]) if argument.arg in keywords else None
        for argument in node.args.kwonlyargs
    ]
