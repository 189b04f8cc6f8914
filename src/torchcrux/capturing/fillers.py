"""The statements that have filled an object, wherever they stand: a table of kernels, a set of
patterns.

Some do it themselves: by an item, by a method, by handing the object to what registers something
there. Others call a function of the user's that does.
"""

from __future__ import annotations

import ast
import types
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from torchcrux.capturing.filling import Call, adds
from torchcrux.capturing.makers import Makers, Statements, home_of
from torchcrux.capturing.statements import Statement


class Fillers:
    """What has filled `value`. An object of an installed class, `theirs`, is only filled by what it
    is handed to."""

    def __init__(
        self,
        value: Any,
        *,
        theirs: bool,
        modules: Sequence[types.ModuleType],
        statements: Statements,
    ) -> None:
        self._value = value
        self._theirs = theirs
        self._modules = modules
        self._statements = statements
        self._named: dict[str, set[str]] = {}
        self._filling: dict[int, bool] = {}
        self._defined: dict[str, dict[str, list[Statement]]] = {}
        self._makers = Makers(
            modules, statements, self._is_maker, lambda module: bool(self._names(module))
        )

    def found(self) -> Iterator[tuple[types.ModuleType, Statement]]:
        return self._makers.calls(self._is_filling, self._value)

    def _names(self, module: types.ModuleType) -> set[str]:
        if module.__name__ not in self._named:
            names = {key for key, held in vars(module).items() if held is self._value}
            self._named[module.__name__] = names
        return self._named[module.__name__]

    def _is_maker(self, one: Statement, module: types.ModuleType) -> bool:
        filled = one.hands_inside if self._theirs else one.inside
        return not self._names(module).isdisjoint(filled | self._given(one.calls_inside, module))

    def _is_filling(self, one: Statement, module: types.ModuleType) -> bool:
        filled = (one.hands if self._theirs else one.fills) | self._given(one.calls, module)
        if self._theirs and one.inner:
            filled |= adds(one.node)
        return not self._names(module).isdisjoint(filled)

    def _given(self, calls: Iterable[Call], module: types.ModuleType) -> set[str]:
        """What is given to functions that fill it."""
        filling = [given for name, given in calls if self._fills_arguments(vars(module).get(name))]
        return {name for given in filling for name in given}

    def _fills_arguments(self, function: Any) -> bool:
        if not isinstance(function, types.FunctionType):
            return False
        if id(function) not in self._filling:
            home = home_of(function, self._modules)
            defined = [] if home is None else self._definitions(home).get(function.__name__, [])
            self._filling[id(function)] = any(one.fills_arguments for one in defined)
        return self._filling[id(function)]

    def _definitions(self, module: types.ModuleType) -> dict[str, list[Statement]]:
        if module.__name__ not in self._defined:
            found: dict[str, list[Statement]] = {}
            try:
                statements = self._statements(module)
            except (OSError, SyntaxError):
                statements = ()
            for one in statements:
                if isinstance(one.node, ast.FunctionDef):
                    found.setdefault(one.node.name, []).append(one)
            self._defined[module.__name__] = found
        return self._defined[module.__name__]
