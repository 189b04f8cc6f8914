"""Capture in the running process."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from torchcrux import _torch
from torchcrux.capturing.frames import strip
from torchcrux.capturing.records import Records
from torchcrux.capturing.watching import Watching
from torchcrux.case import Case


class NothingCaught(RuntimeError):
    """No failure of a compiler was seen; the message says what happened instead."""


def capture(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Case:
    """Run ``fn(*args, **kwargs)`` and keep what fails in a compiler, in a new temporary folder.

    A module, and a function that compiles nothing when it is called, is run under `torch.compile`.
    What was compiled before is compiled anew. Exceptions do not come out of here, except those that
    have nothing to do with a compiler.

    Raises NothingCaught if nothing failed.
    """
    records = Records(Path(tempfile.mkdtemp(prefix="torchcrux-")))
    watching = Watching(records, "error")
    torch.compiler.reset()
    watching.install()
    try:
        if _torch.is_compiled(fn):
            return _run(records, watching, fn, args, kwargs)
        if not isinstance(fn, torch.nn.Module):
            try:
                return _run(records, watching, fn, args, kwargs)
            except NothingCaught:
                if records.status.graphs:
                    raise
        return _run(records, watching, torch.compile(fn), args, kwargs)
    finally:
        watching.remove()
        torch.compiler.reset()


def _run(
    records: Records,
    watching: Watching,
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Case:
    try:
        fn(*args, **kwargs)
    except Exception as error:
        name = watching.case_of(error)
        if not name:
            strip(error)
            raise
        return records.failures[name]
    certain = [name for name in records.status.cases if name not in records.status.maybe]
    if certain:
        return records.failures[certain[0]]
    if records.status.broken:
        raise NothingCaught(
            "torchcrux itself failed while it watched:\n" + records.status.broken[0]
        )
    graphs = records.status.graphs
    raise NothingCaught(
        f"{graphs} graphs were compiled and ran, and nothing failed."
        if graphs
        else "Nothing was compiled and nothing failed."
    )
