"""The module that a script runs in when a process runs it in place of an interpreter."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

_MAIN = types.ModuleType("__main__")
_libraries: list[Any] = []


def main_module(path: Path, **names: Any) -> types.ModuleType:
    """``__main__`` for the script at `path`, with `names` defined and nothing else.

    It takes the place of this process's own: compilers, dataclasses and type hints look a
    function's globals up by the name of its module. Dynamo keeps the module that it finds, so all
    scripts of a process have the same one: what the one before has defined is gone, and so are the
    operators and backends that it has registered: the same may be registered again.
    """
    from torchcrux.oracle import _torch

    for library in _libraries:
        _torch.destroy(library)
    _libraries.clear()
    _torch.forget_backends("__main__")
    for name in [name for name in vars(_MAIN) if not name.startswith("__")]:
        del vars(_MAIN)[name]  # what begins so is Dynamo's, which takes it back itself
    vars(_MAIN).update({**vars(types.ModuleType("__main__")), "__file__": str(path), **names})
    sys.modules["__main__"] = _MAIN
    _torch.on_library("__main__", _libraries.append)
    return _MAIN
