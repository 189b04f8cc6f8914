"""Runs a script or a module as ``python SCRIPT`` or ``python -m MODULE`` would."""

from __future__ import annotations

import builtins
import importlib.machinery
import importlib.util
import io
import os
import signal
import sys
import traceback
import types
from dataclasses import dataclass
from pathlib import Path


class CannotStart(Exception):
    """There is no such script or module; the message is the one that Python would print."""


@dataclass(frozen=True)
class Prepared:
    """The main module, ready to be executed."""

    module: types.ModuleType
    code: types.CodeType


def script(path: str, args: list[str]) -> Prepared:
    """Raises CannotStart, or SyntaxError if the file does not parse."""
    sys.argv[:] = [path, *args]
    _first_in_path(os.path.dirname(os.path.realpath(path)))  # noqa: PTH120 - as Python does it
    file = os.path.abspath(path)  # noqa: PTH100 - links are not followed
    try:
        with io.open_code(file) as opened:
            source = opened.read()
    except OSError as error:
        raise CannotStart(
            f"can't open file {file!r}: [Errno {error.errno}] {error.strerror}"
        ) from error
    main = _main_module(file)
    main.__loader__ = importlib.machinery.SourceFileLoader("__main__", file)
    return Prepared(main, compile(source, file, "exec", dont_inherit=True))


def module(name: str, args: list[str]) -> Prepared:
    """Raises CannotStart, or what importing a parent package raises."""
    sys.argv[:] = ["-m", *args]
    _first_in_path(str(Path.cwd()))
    try:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:
            spec = importlib.util.find_spec(f"{name}.__main__")
    except ModuleNotFoundError as error:
        raise CannotStart(
            f"Error while finding module specification for {name!r}"
            f" ({type(error).__name__}: {error})"
        ) from error
    if spec is None or spec.loader is None:
        raise CannotStart(f"No module named {name}")
    code = spec.loader.get_code(spec.name)  # type: ignore[attr-defined]
    if code is None:
        raise CannotStart(f"No code object available for {spec.name}")
    sys.argv[0] = spec.origin or name
    main = _main_module(spec.origin or "")
    main.__loader__ = spec.loader
    main.__spec__ = spec
    main.__package__ = spec.parent
    vars(main)["__cached__"] = spec.cached
    return Prepared(main, code)


def execute(prepared: Prepared) -> None:
    """Run the code as the module ``__main__`` of this process."""
    sys.modules["__main__"] = prepared.module
    exec(prepared.code, prepared.module.__dict__)


def report(error: BaseException) -> None:
    """What Python does with an uncaught exception: tell `sys.excepthook`."""
    kind, trace = type(error), error.__traceback__
    sys.last_type, sys.last_value, sys.last_traceback = kind, error, trace
    sys.stdout.flush()
    try:
        sys.excepthook(kind, error, trace)
    except Exception as failed:
        sys.stderr.write("Error in sys.excepthook:\n")
        traceback.print_exception(type(failed), failed, failed.__traceback__)
        sys.stderr.write("\nOriginal exception was:\n")
        traceback.print_exception(kind, error, trace)


def die_of_interrupt() -> None:
    """End as a process does that nobody saved from Ctrl-C, so that a shell can tell."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)


def _first_in_path(folder: str) -> None:
    """Put `folder` where Python puts it, unless it was told not to (-P)."""
    if not getattr(sys.flags, "safe_path", False):
        sys.path[0] = folder


def _main_module(file: str) -> types.ModuleType:
    main = types.ModuleType("__main__")
    main.__file__ = file
    vars(main).update(__builtins__=builtins, __annotations__={}, __cached__=None)
    return main
