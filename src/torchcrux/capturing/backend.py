"""What ``backend=`` was given, in a form that another process understands.

A name stays a name if a fresh process knows it, a callable of an installed package is imported
from there, and the source of any other comes along.
"""

from __future__ import annotations

import functools
import importlib.metadata
import os
import re
import sys
import sysconfig
import types
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torchcrux.capturing.expression import Expressions, Inexpressible
from torchcrux.program.context import Backend

ENTRY_POINTS = "torch_dynamo_backends"


def backend_of(name: str, function: Any) -> tuple[Backend, str]:
    """The backend and, if it cannot be brought along, or needs files of the user's, a sentence that
    says so (else empty).

    `name` is empty for a callable; `function` is what the name stands for in this process, None if
    PyTorch keeps that to itself.
    """
    if name and (function is None or _known_everywhere(name, function)):
        return Backend(name), ""
    label = name or _label(function)
    inner = function
    if not isinstance(inner, partial) and _importable(inner):
        return Backend(inner.__qualname__, module=inner.__module__), ""
    try:
        expressions = Expressions(installed)
        found = expressions.of(function)
        if found.isidentifier():
            label = found
        else:
            label = expressions.unused(_identifier(label))
            expressions.assign(label, found)
        return Backend(label, source=expressions.text()), expressions.located()
    except (Inexpressible, OSError, SyntaxError) as reason:
        return Backend(label), f"The backend {label} cannot be brought along: {reason}."


def _known_everywhere(name: str, function: Any) -> bool:
    """Whether a fresh process resolves `name` by itself."""
    module = getattr(function, "__module__", None) or ""
    if module == "torch" or module.startswith("torch."):
        return True
    return name in importlib.metadata.entry_points(group=ENTRY_POINTS).names


def _importable(function: Any) -> bool:
    """Whether an installed module holds `function` under its qualified name (no dots: a line
    ``from module import name`` must do)."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or not name.isidentifier():
        return False
    loaded = sys.modules.get(module)
    return loaded is not None and getattr(loaded, name, None) is function and installed(loaded)


def installed(module: types.ModuleType) -> bool:
    """Whether `module` is there in any process of this interpreter: the standard library, an
    installed distribution, but not a file beside the script."""
    name = module.__name__
    if name in ("__main__", "__mp_main__"):
        return False
    if name.partition(".")[0] in sys.stdlib_module_names:
        return True
    file = getattr(module, "__file__", None)
    if file is None and not hasattr(module, "__path__"):
        return True
    found = [file] if file else list(module.__path__)
    if any(str(Path(path).absolute()).startswith(_places()) for path in found):
        return True
    return name.partition(".")[0] in _distributed()


@functools.cache
def _places() -> tuple[str, ...]:
    """Where this interpreter has its library and what is installed."""
    keys = ("stdlib", "platstdlib", "purelib", "platlib")
    return tuple({f"{sysconfig.get_path(key)}{os.sep}" for key in keys})


@functools.cache
def _distributed() -> Mapping[str, list[str]]:
    """The top-level modules of installed distributions: reading all their files takes long."""
    return importlib.metadata.packages_distributions()


def _label(function: Any) -> str:
    if isinstance(function, partial):
        return _label(function.func)
    return getattr(function, "__name__", type(function).__name__)


def _identifier(label: str) -> str:
    plain = re.sub(r"\W", "", label)
    return plain if plain.isidentifier() and plain != "lambda" else "backend"
