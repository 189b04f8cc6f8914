"""`reduce_graph`: the search in process, with any predicate, for authors of compilers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import torch
from torch import fx

from torchcrux.capturing.lower import describe, lower
from torchcrux.core.search.merge import merge
from torchcrux.passes.base import Draft
from torchcrux.passes.cut import CutLevel
from torchcrux.program.context import Context
from torchcrux.program.graph import to_graph_module
from torchcrux.program.ir import Node, Program

Predicate: TypeAlias = Callable[[fx.GraphModule, list[Any]], bool]


class DoesNotFail(ValueError):
    """The predicate is false for the whole graph: there is nothing to reduce."""


def reduce_graph(
    gm: fx.GraphModule, inputs: Sequence[Any], fails: Predicate
) -> tuple[fx.GraphModule, list[Any]]:
    """The smallest part of `gm` for which `fails(graph, inputs)` is still true, and its inputs.

    Operations are cut away wherever they stand; a value that is severed becomes an input with what
    eager computed there. `fails` is called with graphs and inputs of its own, which it may change.
    An exception that it raises passes through. Raises DoesNotFail if it is false for all of `gm`,
    and ValueError, with the reason, if an operation of `gm` has no public spelling.
    """
    program = lower(gm, inputs).program
    unwritable = next((node for node in program.calls if node.obstacle), None)
    if unwritable is not None:
        raise ValueError(f"{unwritable.name} cannot be reduced: {unwritable.obstacle}")
    values = _eager(program, dict(zip(_names(gm), inputs, strict=True)), gm)
    described = tuple(replace(node, spec=describe(values[node.name])) for node in program.nodes)
    level = CutLevel(Draft(replace(program, nodes=described), Context()))

    def candidate(mask: int) -> tuple[fx.GraphModule, list[Any]] | None:
        draft = level.candidate(mask)
        if draft is None:
            return None
        chosen = [_copy(values[node.name]) for node in draft.program.inputs]
        return to_graph_module(draft.program), chosen

    def ask(mask: int) -> bool:
        made = candidate(mask)
        return made is not None and bool(fails(*made))

    if not ask(0):
        raise DoesNotFail("fails(graph, inputs) is false for the whole graph")
    search = merge(level.size)
    try:
        masks = next(search)
        while True:
            masks = search.send(tuple(ask(mask) for mask in masks))
    except StopIteration as end:
        smallest = candidate(int(end.value))
        assert smallest is not None
        return smallest


def _names(gm: fx.GraphModule) -> list[str]:
    return [node.name for node in gm.graph.nodes if node.op == "placeholder"]


class _Recorder(fx.Interpreter):
    """Keeps what each node computed, as it was then."""

    def __init__(self, gm: fx.GraphModule) -> None:
        super().__init__(gm, garbage_collect_values=False)
        self.values: dict[str, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        self.values[n.name] = _copy(result)
        return result


def _eager(program: Program, given: dict[str, Any], gm: fx.GraphModule) -> dict[str, Any]:
    """The value of each node of `program`, by name."""
    values = dict(given)
    for node in program.inputs:
        if node.name not in values:
            values[node.name] = _attribute(gm, node)
    recorder = _Recorder(to_graph_module(program))
    recorder.run(*(_copy(values[node.name]) for node in program.inputs))
    return {**recorder.values, **values}


def _attribute(gm: fx.GraphModule, node: Node) -> Any:
    value: Any = gm
    for part in node.target.split("."):
        value = getattr(value, part)
    return value


def _copy(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().clone().requires_grad_(value.requires_grad)
    if isinstance(value, (tuple, list)):
        return type(value)(_copy(item) for item in value)
    return value
