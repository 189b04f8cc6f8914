"""Calls of leaf modules become the functional calls that they make.

Dynamo inlines most modules by itself; what it leaves as `call_module` (or what older settings
leave) is traced here, so that parameters and buffers become plain values of the graph.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import fx


class _InlineTracer(fx.Tracer):
    def is_leaf_module(self, m: torch.nn.Module, module_qualified_name: str) -> bool:
        return False


def inline_modules(gm: fx.GraphModule) -> fx.GraphModule:
    """`gm` itself if it calls no module, else a shallow copy in which traceable modules are
    inlined. A module that cannot be traced symbolically stays a call."""
    if not any(node.op == "call_module" for node in gm.graph.nodes):
        return gm
    copied = fx.GraphModule(gm, copy.deepcopy(gm.graph))
    for node in list(copied.graph.nodes):
        if node.op == "call_module":
            _inline(copied, node)
    copied.graph.lint()
    copied.recompile()
    return copied


def _inline(gm: fx.GraphModule, call: fx.Node) -> None:
    path = str(call.target)
    module = gm.get_submodule(path)
    try:
        graph = _InlineTracer().trace(module)
    except Exception:
        return
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    bound: dict[fx.Node, Any] = dict(zip(inputs, call.args, strict=False))
    for node in inputs[len(call.args) :]:
        if node.target in call.kwargs:
            bound[node] = call.kwargs[str(node.target)]
        elif node.args:
            bound[node] = node.args[0]
        else:
            return
    with gm.graph.inserting_before(call):
        for node in graph.nodes:
            if node.op == "placeholder":
                continue
            if node.op == "output":
                result = fx.map_arg(node.args[0], lambda used: bound[used])
                break
            inserted = gm.graph.node_copy(node, lambda used: bound[used])
            if node.op in ("get_attr", "call_module"):
                inserted.target = f"{path}.{node.target}"
            for key in ("stack_trace", "nn_module_stack"):
                if key in call.meta:
                    inserted.meta[key] = call.meta[key]
            bound[node] = inserted
        else:
            return
    if isinstance(result, fx.Node):
        if "example_value" in call.meta:
            result.meta.setdefault("example_value", call.meta["example_value"])
        call.replace_all_uses_with(result)
        gm.graph.erase_node(call)
