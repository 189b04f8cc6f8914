"""What a failure itself says about where it arose."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from torchcrux.emit.random import name_of
from torchcrux.oracle.failure import Failure
from torchcrux.oracle.kernels import is_in_kernel
from torchcrux.passes.base import Draft
from torchcrux.program.ir import Node
from torchcrux.program.spec import tensors

_FRAME = re.compile(r'File "([^"]+)", line (\d+)')
_GENERATED = re.compile(r'File "[^"]*/c[a-z2-7]{51}\.py", line \d+, in \w+\n +(.*)')
"""A line of code that Inductor has written, in a file named after its hash."""
_OPERATOR = re.compile(r"\b(?:aten|torch\.ops\.\w+|extern_kernels)\.(\w+)")


def hinted(draft: Draft, failure: Failure) -> list[int]:
    """The numbers of the calls that the failure names, those first of which it says most."""
    text = failure.text.lower()
    words = set(re.findall(r"[a-z][a-z0-9_]{2,}", text)).union(_called(failure.traceback))
    calls = [(name_of(node).strip("_"), node) for node in draft.program.calls]
    named = {name for name in {*dict(calls)} if _is_named(name, words, failure.kernel)}
    line = _line(failure, [node for _, node in calls])
    found = [
        (_details(node, text, words) + _SURE * (_place(node) == line), i)
        for i, (name, node) in enumerate(calls)
        if name in named or _place(node) == line
    ]
    return [i for _, i in sorted(found, key=lambda pair: -pair[0])]


_SURE = 8
"""More than all details count that a message has by chance."""


def _called(traceback: str) -> list[str]:
    """The operators that were called from the last line of generated code in a traceback."""
    lines = _GENERATED.findall(traceback)
    return [name.strip("_").lower() for name in _OPERATOR.findall(lines[-1])] if lines else []


def _line(failure: Failure, calls: list[Node]) -> tuple[str, str]:
    """The last of the lines in the messages' own stack traces that a call comes from: torch
    appends where the operation stands that it could not compile."""
    places = {_place(node) for node in calls} - {_NOWHERE}
    for _, message in reversed(failure.exceptions):
        for file, line in reversed(_FRAME.findall(message)):
            if (file, line) in places:
                return file, line
    return "no", "line"


_NOWHERE = ("", "")


def _place(node: Node) -> tuple[str, str]:
    return _NOWHERE if node.origin is None else (node.origin.file, str(node.origin.line))


def _is_named(name: str, words: set[str], kernel: str) -> bool:
    stem = re.sub(r"\d+d?$", "", name)
    return is_in_kernel(name, kernel) or (
        name in words or any(len(stem) > 3 and word.startswith(stem) for word in words)
    )


def _details(node: Node, text: str, words: set[str]) -> int:
    """How much of what sets this call apart from others of its kind stands in the text: its own
    name, its arguments, its place in the user's program, its shape."""
    found = 2 * (node.name in words and node.name[-1].isdigit())
    for key, value in node.kwargs:
        found += f"{key}={value!r}".lower() in text
    found += sum(word.lower() in words for word in _strings((node.args, dict(node.kwargs))))
    if node.origin is not None:
        found += 2 * (f"line {node.origin.line}," in text)
    shapes = [spec.shape for spec in tensors(node.spec) if len(spec.shape) > 1]
    found += any(str(of(shape)) in text for shape in shapes for of in (list, tuple))
    return found


def _strings(arg: Any) -> Iterator[str]:
    if isinstance(arg, str):
        yield arg
    elif isinstance(arg, (tuple, list)):
        for item in arg:
            yield from _strings(item)
    elif isinstance(arg, dict):
        yield from _strings(tuple(arg.values()))
