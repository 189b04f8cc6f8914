"""The arguments of one call of what was compiled, and the way back to them."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from torchcrux.capturing.lower import describe, tensors_of, without_parts
from torchcrux.capturing.sharing import with_memory
from torchcrux.capturing.watched import Graph
from torchcrux.program import spec as specs
from torchcrux.program.ir import Program

_SMALL = 4096
"""Elements; integer inputs up to this size are kept for a failure in backward."""


def versions(args: Sequence[Any]) -> list[int]:
    """How often each tensor was changed in place, -1 where that is not counted."""
    return [
        value._version if isinstance(value, torch.Tensor) and not value.is_inference() else -1
        for value in args
    ]


def held(value: Any) -> Callable[[], Any]:
    """A way back to an argument that keeps no memory of any size alive."""
    if not isinstance(value, torch.Tensor):
        return lambda: value
    if not value.is_floating_point() and value.numel() <= _SMALL:
        return lambda: value
    return weakref.ref(value)


def with_arguments(graph: Graph, args: Sequence[Any]) -> tuple[Program, dict[str, torch.Tensor]]:
    """The program with the shapes and numbers of one call, and that call's tensors."""
    given = dict(zip(graph.slots, args, strict=False))
    changes = {}
    tensors: dict[str, torch.Tensor] = {}
    for node in graph.program.inputs:
        value = given.get(node.name)
        if value is None:
            continue
        spec = describe(value)
        match spec, node.spec:
            case specs.Tensor(), specs.Tensor(symbols=symbols):
                spec = replace(spec, symbols=symbols)
                if not node.spec.parts and spec.parts:
                    spec = without_parts(spec, node.spec.lost)
            case specs.Number(), specs.Number(symbol=symbol):
                spec = replace(spec, symbol=symbol)
        changes[node.name] = replace(node, spec=spec)
        if isinstance(value, torch.Tensor):
            tensors |= tensors_of(node.name, value, spec)
    tensors.update(graph.constants)
    return with_memory(graph.program.replace_nodes(changes), tensors), tensors
