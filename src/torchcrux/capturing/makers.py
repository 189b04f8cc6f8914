"""Calls of functions that do something once for all: fill a table, register a rule.

Such a function is called at the top of a module, or inside functions that have not returned yet, or
by another function that only sets up as well.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import types
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import torch

from torchcrux.capturing.filling import only_prepares
from torchcrux.capturing.statements import Statement, analysed_inside, is_import
from torchcrux.capturing.underway import is_underway

_OF_A_RUN = {"compile", "backward", "parameters", "state_dict"}
"""Attributes that what only sets up does not use."""

Maker: TypeAlias = "types.FunctionType | type"
Statements = Callable[[types.ModuleType], Sequence[Statement]]
"""Those at the top of a module, and those executed inside what is underway. Raises OSError or
SyntaxError."""
Holds = Callable[[Statement, types.ModuleType], bool]
"""Whether something is true of a statement of a module."""


class Makers:
    """The functions of some `modules` that do it, as `does` tells of their definitions, those that
    call one of them, and classes with such a method. Modules without source are left out, and those
    that are not `concerned` and know none of these."""

    def __init__(
        self,
        modules: Sequence[types.ModuleType],
        statements: Statements,
        does: Holds,
        concerned: Callable[[types.ModuleType], bool] = lambda module: True,
    ) -> None:
        self._modules = modules
        self._statements = statements
        self._concerned = concerned
        self._found: dict[int, Maker] = {}
        count = -1
        while count != len(self._found):
            count = len(self._found)
            for module, known in self._known():
                names = self._names(module).keys()
                for one in known:
                    function = _defined(one, module)
                    if function is None or id(function) in self._found:
                        continue
                    calls = any(name in names for name, _ in one.calls_inside)
                    if (calls or does(one, module)) and _only_sets_up(one, module, function):
                        self._found[id(function)] = function

    def calls(
        self, itself: Holds = lambda one, module: False, own: object = None
    ) -> Iterator[tuple[types.ModuleType, Statement]]:
        """The statements that call one of the functions, or of which `itself` is true, and that can
        be taken out of where they stand; for others, calls without arguments. `own` is the object
        that this is about, if there is one."""
        for module, statements in self._known():
            makes = self._names(module)
            binds = frozenset(dir(builtins)).union(*(one.binds for one in statements))
            for one in statements:
                calls = makes.keys() & {name for name, _ in one.calls}
                if is_import(one.node) or not (calls or itself(one, module)):
                    continue
                used = one.uses - one.binds
                prepares = only_prepares(one.node, used, module, own)
                if prepares and (not one.inner or used <= binds - one.local):
                    yield module, one
                    continue
                for function in (makes[name] for name in sorted(calls)):
                    if isinstance(function, type) or not _needs_nothing(function):
                        continue
                    home = home_of(function, self._modules)
                    if home is not None:
                        call = ast.parse(f"{function.__name__}()").body[0]
                        yield home, analysed_inside(call, frozenset())

    def _known(self) -> Iterator[tuple[types.ModuleType, Sequence[Statement]]]:
        for module in self._modules:
            if self._concerned(module) or self._names(module):
                try:
                    yield module, self._statements(module)
                except (OSError, SyntaxError):
                    continue  # nothing of it can come along

    def _names(self, module: types.ModuleType) -> dict[str, Maker]:
        """The functions that a module knows, by the names that it calls them by."""
        found: dict[str, Maker] = {}
        for key, held in vars(module).items():
            if id(held) in self._found:
                found[key] = held
            elif isinstance(held, types.ModuleType) and held in self._modules:
                for inner, function in vars(held).items():
                    if id(function) in self._found:
                        found[f"{key}.{inner}"] = function
        return found


def home_of(
    function: types.FunctionType, modules: Sequence[types.ModuleType]
) -> types.ModuleType | None:
    """The one of `modules` that defines a function."""
    return next((one for one in modules if vars(one) is function.__globals__), None)


def _defined(one: Statement, module: types.ModuleType) -> Maker | None:
    if one.inner or not isinstance(one.node, (ast.FunctionDef, ast.ClassDef)):
        return None
    found = vars(module).get(one.node.name)
    return found if isinstance(found, (types.FunctionType, type)) else None


def _needs_nothing(function: types.FunctionType) -> bool:
    parameters = inspect.signature(function).parameters.values()
    return all(
        one.default is not one.empty or one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
        for one in parameters
    )


def _only_sets_up(one: Statement, module: types.ModuleType, found: Maker) -> bool:
    """Whether a function has returned, and has nothing to do with a model; of a class, each of its
    methods."""
    used = [vars(module)[name] for name in one.uses if name in vars(module)]
    inside = vars(found).values() if isinstance(found, type) else [found]
    return not (
        any(isinstance(one, types.FunctionType) and is_underway(one) for one in inside)
        or (isinstance(found, type) and issubclass(found, torch.nn.Module))
        or any(map(_is_of_a_model, used))
        or not one.attributes.isdisjoint(_OF_A_RUN)
    )


def _is_of_a_model(value: object) -> bool:
    compiled = hasattr(value, "_torchdynamo_orig_callable")
    return compiled or isinstance(value, (torch.nn.Module, torch.Tensor, torch.optim.Optimizer))
