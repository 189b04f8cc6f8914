"""The module that a script runs in when a process runs it in place of an interpreter."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

_LIBRARIES = "__torchcrux_libraries__"


def main_module(path: Path, **names: Any) -> types.ModuleType:
    """A fresh ``__main__`` for the script at `path`, with `names` defined.

    It takes the place of this process's own: compilers, dataclasses and type hints look a
    function's globals up by the name of its module. The operators that the one before has
    registered are gone: the same may be registered again.
    """
    from torchcrux.oracle import _torch

    for library in vars(sys.modules["__main__"]).get(_LIBRARIES, ()):
        _torch.destroy(library)
    module = types.ModuleType("__main__")
    libraries: list[Any] = []
    module.__dict__.update({"__file__": str(path), **names, _LIBRARIES: libraries})
    sys.modules["__main__"] = module
    _torch.on_library("__main__", libraries.append)
    return module
