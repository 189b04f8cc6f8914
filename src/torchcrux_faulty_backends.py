"""Backends of ``torch.compile`` that go wrong in one known way, for tests of tools like torchcrux.

Each is found by name (``backend="torchcrux_relu_compile_error"``) wherever torchcrux is installed,
and needs nothing of it: this module stands beside the package and imports torch only. Without its
trigger each one is a correct backend that runs the graph as it is.

A backend with a fault in ``relu`` looks for it in every spelling (function, method, module, ATen
operator, in place or not) and in the graphs inside the graph: the bodies of higher-order operators.
The user's graph module is never changed; a faulty graph is a new one with the same parameters.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import torch
import torch.fx
from torch import Tensor, nn

__all__ = [
    "NonLeafCompileError",
    "ReluCompileError",
    "ReluRuntimeError",
    "non_leaf_compile_error",
    "relu_accuracy_error",
    "relu_compile_error",
    "relu_runtime_error",
]

Compiled: TypeAlias = Callable[..., Any]
Relu: TypeAlias = Callable[[Tensor, bool], Tensor]
"""Takes the input, and whether the result goes into it."""

_RELU = frozenset(
    {
        torch.relu,
        torch.Tensor.relu,
        torch.nn.functional.relu,
        torch.ops.aten.relu,
        torch.ops.aten.relu.default,
    }
)
_RELU_IN_PLACE = frozenset(
    {torch.relu_, torch.Tensor.relu_, torch.ops.aten.relu_, torch.ops.aten.relu_.default}
)
# bfloat16, the coarsest default of torch.testing.assert_close, tolerates 1.6 %.
_ACCURACY_ERROR = 0.05


class ReluCompileError(Exception):
    """Raised while compiling a graph that contains relu."""


class ReluRuntimeError(Exception):
    """Raised by compiled code when it comes to a relu."""


class NonLeafCompileError(Exception):
    """Raised while compiling for an input that requires grad and is not a leaf."""


def relu_compile_error(gm: torch.fx.GraphModule, example_inputs: Sequence[Any]) -> Compiled:
    """Does not compile a graph with relu: raises ReluCompileError."""
    if _contains_relu(gm):
        raise ReluCompileError("relu cannot be compiled")
    return gm.forward


def relu_runtime_error(gm: torch.fx.GraphModule, example_inputs: Sequence[Any]) -> Compiled:
    """Compiles any graph; its relu raises ReluRuntimeError each time it runs."""
    return _with_relu(gm, _raising_relu)


def relu_accuracy_error(gm: torch.fx.GraphModule, example_inputs: Sequence[Any]) -> Compiled:
    """Compiles any graph; its relu is off by 5 % of 1 + abs(x), by 1 for integers.

    The error is everywhere, for positive and for negative x, and no affine function of x, so that
    a normalisation after the relu does not remove it. The gradient is that of the true relu.
    """
    return _with_relu(gm, _inaccurate_relu)


def non_leaf_compile_error(gm: torch.fx.GraphModule, example_inputs: Sequence[Any]) -> Compiled:
    """Does not compile for an input that requires grad and is not a leaf: NonLeafCompileError."""
    for position, value in enumerate(example_inputs):
        if isinstance(value, Tensor) and value.requires_grad and not value.is_leaf:
            raise NonLeafCompileError(f"input {position} requires grad and is not a leaf")
    return gm.forward


def _raising_relu(input: Tensor, inplace: bool = False) -> Tensor:
    raise ReluRuntimeError("relu failed while running")


def _inaccurate_relu(input: Tensor, inplace: bool = False) -> Tensor:
    result = torch.relu(input)
    if result.is_floating_point():
        result = result + _ACCURACY_ERROR * (1 + input.detach().abs())
    else:
        result = result + 1
    return input.copy_(result) if inplace else result


def _contains_relu(module: nn.Module) -> bool:
    if isinstance(module, nn.ReLU):
        return True
    if not isinstance(module, torch.fx.GraphModule):
        return any(_contains_relu(child) for child in module.children())
    return any(_is_relu(node) for node in module.graph.nodes) or any(
        _contains_relu(inner) for _, inner in _inner_modules(module, module.graph)
    )


def _with_relu(gm: torch.fx.GraphModule, relu: Relu) -> Compiled:
    rewritten = _rewritten(gm, relu) if _contains_relu(gm) else gm
    forward: Compiled = rewritten.forward
    return forward


def _rewritten(module: nn.Module, relu: Relu) -> nn.Module:
    """A copy of `module`, with its own parameters and buffers, that calls `relu`."""
    if isinstance(module, nn.ReLU):
        return _ReluModule(relu, module.inplace)
    if isinstance(module, torch.fx.GraphModule):
        return _rewritten_graph(module, relu)
    result = copy.copy(module)
    # copy.copy shares the dict of children, and setting a child would set it in the original.
    result.__dict__["_modules"] = {
        name: _rewritten(child, relu) if child is not None and _contains_relu(child) else child
        for name, child in module._modules.items()
    }
    return result


def _rewritten_graph(module: torch.fx.GraphModule, relu: Relu) -> torch.fx.GraphModule:
    graph = copy.deepcopy(module.graph)
    result = torch.fx.GraphModule(module, graph)
    for number, (node, inner) in enumerate(list(_inner_modules(module, graph))):
        if _contains_relu(inner):
            # A new name: the old one may lie inside a module that belongs to the user.
            node.target = f"relu_fault_{number}"
            result.add_submodule(node.target, _rewritten(inner, relu))
    for node in graph.nodes:
        if _is_relu(node):
            node.args, node.kwargs = _relu_arguments(node), {}
            node.op, node.target = "call_function", relu
    result.recompile()
    return result


def _inner_modules(
    module: torch.fx.GraphModule, graph: torch.fx.Graph
) -> Iterator[tuple[torch.fx.Node, nn.Module]]:
    """The nodes of `graph` that call a module or hand one to a higher-order operator."""
    for node in graph.nodes:
        if node.op in ("call_module", "get_attr"):
            value = operator.attrgetter(node.target)(module)
            if isinstance(value, nn.Module):
                yield node, value


def _is_relu(node: torch.fx.Node) -> bool:
    match node.op:
        case "call_function":
            return node.target in _RELU or node.target in _RELU_IN_PLACE
        case "call_method":
            return node.target in ("relu", "relu_")
        case _:
            return False


def _relu_arguments(node: torch.fx.Node) -> tuple[Any, Any]:
    keywords = dict(node.kwargs)
    inplace = keywords.pop("inplace", node.args[1] if len(node.args) > 1 else False)
    # The input is called `input` by functions and `self` by methods and ATen operators.
    (input,) = node.args[:1] or keywords.values()
    return input, inplace or node.target == "relu_" or node.target in _RELU_IN_PLACE


class _ReluModule(nn.Module):
    def __init__(self, relu: Relu, inplace: bool) -> None:
        super().__init__()
        self.relu = relu
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        return self.relu(input, self.inplace)
