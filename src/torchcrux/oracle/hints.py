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


def hinted(draft: Draft, failure: Failure) -> list[int]:
    """The numbers of the calls that the failure names, those first of which it says most."""
    text = failure.text.lower()
    words = set(re.findall(r"[a-z][a-z0-9_]{2,}", text))
    calls = [(name_of(node).strip("_"), node) for node in draft.program.calls]
    named = {name for name in {*dict(calls)} if _is_named(name, words, failure.kernel)}
    found = [
        (_details(node, text, words), i) for i, (name, node) in enumerate(calls) if name in named
    ]
    return [i for _, i in sorted(found, key=lambda pair: -pair[0])]


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
