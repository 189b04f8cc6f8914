"""The module that a script runs in when a process runs it in place of an interpreter."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any


def main_module(path: Path, **names: Any) -> types.ModuleType:
    """A fresh ``__main__`` for the script at `path`, with `names` defined.

    It takes the place of this process's own: compilers, dataclasses and type hints look a
    function's globals up by the name of its module.
    """
    module = types.ModuleType("__main__")
    module.__dict__.update({"__file__": str(path), **names})
    sys.modules["__main__"] = module
    return module
