"""The statements that have filled an object, wherever they stand: a table of kernels, a set of
patterns.

Some do it themselves: by an item, by a method, by handing the object to what registers something
there. Others call a function of the user's that does.
"""

from __future__ import annotations

import ast
import types
from collections.abc import Iterator, Sequence
from typing import Any

from torchcrux.capturing.filling import (
    adds,
    called,
    filled_parameters,
    fills,
    given_to,
    handed,
)
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
        self._makers = Makers(
            modules, statements, self._is_maker, lambda module: bool(self._names(module))
        )

    def found(self) -> Iterator[tuple[types.ModuleType, Statement]]:
        return self._makers.calls(self._is_filling, self._value)

    def _names(self, module: types.ModuleType) -> set[str]:
        return {key for key, held in vars(module).items() if held is self._value}

    def _is_maker(self, one: Statement, module: types.ModuleType) -> bool:
        names = self._names(module)
        inside = [part for part in ast.walk(one.node) if isinstance(part, ast.stmt)]
        return any(
            not names.isdisjoint(self._filled(part, module))
            for part in inside
            if part is not one.node
        )

    def _is_filling(self, one: Statement, module: types.ModuleType) -> bool:
        filled = self._filled(one.node, module)
        if self._theirs and one.inner:
            filled |= adds(one.node)
        return not self._names(module).isdisjoint(filled)

    def _filled(self, node: ast.stmt, module: types.ModuleType) -> set[str]:
        """Names of the objects that a statement fills."""
        known = {name: vars(module).get(name) for name in called(node)}
        filling = {
            name
            for name, held in known.items()
            if isinstance(held, types.FunctionType) and self._fills_an_argument(held)
        }
        return given_to(node, filling) | (handed(node) if self._theirs else fills(node))

    def _fills_an_argument(self, function: types.FunctionType) -> bool:
        home = home_of(function, self._modules)
        if home is None:
            return False
        try:
            statements = self._statements(home)
        except (OSError, SyntaxError):
            return False
        return any(
            filled_parameters(one.node)
            for one in statements
            if isinstance(one.node, ast.FunctionDef) and one.node.name == function.__name__
        )
