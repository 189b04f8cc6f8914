"""Act on a module right after it has been imported, without importing it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class PostImport(MetaPathFinder):
    """Calls ``actions[name]`` once after the module of that name has been executed.

    Modules that are there already are acted on by `install`. The module itself, its loader and its
    spec stay what they are: only the loader's `exec_module` is followed by the action.
    """

    def __init__(self, actions: Mapping[str, Callable[[], None]]) -> None:
        self._actions = dict(actions)

    def install(self) -> None:
        for name in [name for name in self._actions if name in sys.modules]:
            self._actions.pop(name)()
        if self._actions:
            sys.meta_path.insert(0, self)

    def remove(self) -> None:
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self._actions:
            return None
        for finder in sys.meta_path:
            if finder is self:
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    self._follow(spec.loader, fullname)
                return spec
        return None

    def _follow(self, loader: Loader, name: str) -> None:
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            action = self._actions.pop(name, None)
            if action is not None:
                action()

        followed: Any = loader
        followed.exec_module = exec_module
