"""Operators that PyTorch does not provide: where their registration is, as text for a script."""

from __future__ import annotations

import ast
import sys
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch

from torchcrux.capturing import _torch
from torchcrux.capturing.backend import installed
from torchcrux.capturing.registration import Registration, calls_of, loads_a_library, strings
from torchcrux.capturing.slicing import Slices
from torchcrux.capturing.statements import Statement
from torchcrux.capturing.subclasses import definition, wrapped


@dataclass
class Operators:
    """Registrations found so far, by the dotted name of the operator, without an overload; and
    definitions of classes of tensors, by the name of the class."""

    sources: dict[str, str] = field(default_factory=dict)
    classes: dict[str, type] = field(default_factory=dict)

    def learn(self, name: str) -> None:
        """Find the registration of ``torch.ops.NAMESPACE.OPERATOR``. Raises LookupError, with
        what it is, if there is no text that registers it anew."""
        short = ".".join(name.split(".")[:4])
        if short not in self.sources:
            self.sources[short] = _registration(*short.split(".")[2:])

    def learn_classes(self, tensor: torch.Tensor) -> None:
        """Find the definitions of what `tensor` is made with. Raises LookupError, with what it is,
        if there is no text that makes it anew."""
        found = wrapped(tensor)
        for cls in () if found is None else found.classes:
            name = cls.__qualname__
            if self.classes.setdefault(name, cls) is not cls:
                raise LookupError(f"a tensor of one of several classes {name}")
            if name not in self.sources:
                self.sources[name] = definition(cls)
        for _, part in () if found is None else found.parts:
            self.learn_classes(part)

    def used_by(self, targets: set[str]) -> tuple[tuple[str, str], ...]:
        """Names and texts of those that calls of these targets, or uses of these names, need."""
        return tuple(
            (name, source)
            for name, source in self.sources.items()
            if any(target == name or target.startswith(name + ".") for target in targets)
        )


def _registration(space: str, name: str) -> str:
    full = f"{space}::{name}"
    what = f"the operator {full}"
    definition = _torch.custom_operator(full)
    home = sys.modules.get(space if definition is None else definition.home)
    if home is not None and installed(home):
        return f"import {home.__name__}"
    registration = Registration(space, name)
    slices = Slices(installed, registration.is_of_another)
    own, unreadable = _users_modules(slices)
    try:
        found = definition is not None and _by_variable(slices, own, definition.handle)
        for module in () if found else own:
            called = slices.called(module)
            stated = partial(registration.is_stated, module=module, called=called)
            found |= _taken(slices, module, stated)
        if not found:
            package = _package_of(space)
            if package:
                return f"import {package}"
            found = slices.take_calls(partial(_registers, registration))
        if not found:
            found = _made_up(slices, own, registration)
        if not found:
            for module in own:
                found |= _taken(slices, module, loads_a_library)
    except (OSError, SyntaxError) as reason:  # of a module that one of them imports from
        raise LookupError(f"{what}, whose source is not to be had") from reason
    if not found:
        why = f"which is registered {'inside of a function' if definition else 'elsewhere'}"
        if unreadable and (definition is None or home in unreadable):
            why = "whose source is not to be had"
        raise LookupError(f"{what}, {why}")
    for module in own:
        slices.take(module, registration.is_ruled)
    if slices.clashes():
        raise LookupError(f"{what}, whose registration cannot be taken out")
    return slices.text() + "\n"


def _users_modules(slices: Slices) -> tuple[list[types.ModuleType], list[types.ModuleType]]:
    """The modules that belong to no installed package, and those of them that have no source."""
    own, unreadable = [], []
    for module in list(sys.modules.values()):
        if not isinstance(module, types.ModuleType) or installed(module):
            continue
        if getattr(module, "__file__", None) is not None:
            try:
                slices.statements(module)
            except (OSError, SyntaxError):
                unreadable.append(module)
            else:
                own.append(module)
    return own, unreadable


def _by_variable(slices: Slices, modules: Sequence[types.ModuleType], handle: object) -> bool:
    """Take what makes the variable that holds `handle`."""
    for module in modules:
        for variable, value in list(vars(module).items()):
            if value is handle and slices.need(module, variable):
                return True
    return False


def _taken(slices: Slices, module: types.ModuleType, wanted: Callable[[ast.stmt], bool]) -> bool:
    """Take what is `wanted` and the calls of what that binds; whether there was anything."""
    names = slices.take(module, wanted)
    if any(names):
        slices.take(module, partial(calls_of, names=frozenset().union(*names)))
    return bool(names)


def _made_up(
    slices: Slices, modules: Sequence[types.ModuleType], registration: Registration
) -> bool:
    """Take what registers the operator under a name that is written nowhere."""

    texts = {
        module.__name__: {text for node in slices.statements(module) for text in strings(node)}
        for module in modules
    }

    def made(node: ast.stmt, module: types.ModuleType) -> bool:
        return registration.may_be_made(node, texts.get(module.__name__, ()))

    def made_at_top(node: ast.stmt, module: types.ModuleType) -> bool:
        return made(node, module) and not isinstance(node, ast.FunctionDef)

    return any(
        slices.take(module, partial(made_at_top, module=module)) for module in modules
    ) or slices.take_calls(lambda one, module: made(one.node, module))


def _registers(registration: Registration, one: Statement, module: types.ModuleType) -> bool:
    """Whether a function registers an operator when it is called."""
    return registration.is_stated(one.node, module, {getattr(one.node, "name", "")})


def _package_of(space: str) -> str:
    """The installed package that has a library of this namespace."""
    for module in list(sys.modules.values()):
        if isinstance(module, types.ModuleType) and installed(module):
            for value in list(vars(module).values()):
                if type(value) is torch.library.Library and value.ns == space:
                    return module.__name__
    return ""
