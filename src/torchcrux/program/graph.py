"""From a `Program` back to a `torch.fx.GraphModule`, for those who work with graphs."""

from __future__ import annotations

import ast
import builtins
import math
import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import fx

from torchcrux import _torch
from torchcrux.program.ir import Arg, Atom, Body, Node, Op, Program, Ref, Region, Slice
from torchcrux.program.spec import Number

_ROOTS = {"torch": torch, "operator": operator, "math": math, "builtins": builtins}


def to_graph_module(program: Program) -> fx.GraphModule:
    """A graph with the same names, whose placeholders are the inputs in order."""
    return _graph_module(program, tuple(map(Ref, program.outputs)))


def _graph_module(program: Program, result: Arg) -> fx.GraphModule:
    root = torch.nn.Module()
    graph = fx.Graph()
    values: dict[str, fx.Node] = {}
    for node in program.inputs:
        target = node.target or node.name
        kind = torch.SymInt if isinstance(node.spec, Number) else torch.Tensor
        values[node.name] = graph.create_node(
            "placeholder",
            target,
            name=node.name,
            type_expr=kind if node.target else None,
        )
    with _regions(graph) as enter:
        for node in program.calls:
            enter(node.regions)
            values[node.name] = _call(graph, node, values, root)
        enter(())
    graph.output(_converted(result, "", values, root, graph))
    return fx.GraphModule(root, graph, "Repro")


def as_text(program: Program, name: str = "Repro") -> str:
    """The graph as the module that `torch.fx` prints for it."""
    code = to_graph_module(program).code.strip()
    body = "\n".join(f"    {line}".rstrip() for line in code.splitlines())
    return (
        f"class {name}(torch.nn.Module):\n"
        "    def __init__(self) -> None:\n"
        "        super().__init__()\n"
        "\n"
        f"{body}"
    )


def _call(
    graph: fx.Graph, node: Node, values: dict[str, fx.Node], root: torch.nn.Module
) -> fx.Node:
    kind = "call_method" if node.op is Op.METHOD else "call_function"
    target = node.target if node.op is Op.METHOD else resolve(node.target)
    if node.target == "torch.vmap":
        target = vmapped
    return graph.create_node(
        kind,
        target,
        tuple(_converted(arg, node.name, values, root, graph) for arg in node.args),
        {k: _converted(value, node.name, values, root, graph) for k, value in node.kwargs},
        name=node.name,
    )


def vmapped(function: Callable[..., Any], *operands: Any, **dims: Any) -> Any:
    """`torch.vmap` and the call of what it returns, as one call of a graph."""
    return torch.vmap(function, **dims)(*operands)


def _converted(
    arg: Arg, owner: str, values: dict[str, fx.Node], root: torch.nn.Module, graph: fx.Graph
) -> Any:
    """`arg` as `torch.fx` holds it; bodies become submodules named after their `owner`."""

    def convert(arg: Arg) -> Any:
        match arg:
            case Ref(name):
                return values[name]
            case Atom(text):
                return constant(text)
            case Slice(start, stop, step):
                return slice(convert(start), convert(stop), convert(step))
            case Body():
                name = f"{owner}_body_{len(root._modules)}"
                root.add_module(name, _graph_module(arg.program, arg.result))
                return graph.get_attr(name)
            case tuple():
                return tuple(convert(item) for item in arg)
            case list():
                return [convert(item) for item in arg]
            case dict():
                return {key: convert(value) for key, value in arg.items()}
        return arg

    return convert(arg)


def resolve(path: str) -> Any:
    """The object behind a dotted public name."""
    root, *parts = path.split(".")
    value: Any = _ROOTS[root]
    for part in parts:
        value = getattr(value, part)
    return value


def constant(text: str) -> Any:
    """The value of an `Atom`: a dotted name, an ellipsis or a range."""
    if text == "...":
        return ...
    if text.startswith("range("):
        return range(*ast.literal_eval(text.removeprefix("range")))
    return resolve(text)


@contextmanager
def _regions(graph: fx.Graph) -> Iterator[Callable[[tuple[Region, ...]], None]]:
    """Opens and closes scopes so that each call stands inside its own."""
    open_: list[tuple[Region, Callable[[], None]]] = []

    def enter(regions: tuple[Region, ...]) -> None:
        shared = 0
        while shared < min(len(open_), len(regions)) and open_[shared][0] == regions[shared]:
            shared += 1
        while len(open_) > shared:
            open_.pop()[1]()
        open_.extend((region, _open(graph, region)) for region in regions[shared:])

    yield enter


def _open(graph: fx.Graph, region: Region) -> Callable[[], None]:
    """Writes the call that opens a scope; returns what writes the call that closes it."""
    call = ast.parse(region.text, mode="eval").body
    if not isinstance(call, ast.Call):
        raise ValueError(f"{region.text!r} opens no scope")
    args = [_literal(arg) for arg in call.args]
    keywords = {str(word.arg): _literal(word.value) for word in call.keywords}
    name = ast.unparse(call.func).rpartition(".")[2]
    if name == "autocast":
        functions = torch.amp.autocast_mode
        token = graph.call_function(
            functions._enter_autocast,
            (args[0], keywords.get("dtype"), keywords.get("enabled", True), None),
        )
        return lambda: _write(graph, functions._exit_autocast, token)
    inside = name == "enable_grad"
    graph.call_function(_torch.set_grad_enabled, (inside,))
    return lambda: _write(graph, _torch.set_grad_enabled, not inside)


def _write(graph: fx.Graph, function: Any, arg: Any) -> None:
    graph.call_function(function, (arg,))


def _literal(expression: ast.expr) -> Any:
    if isinstance(expression, ast.Constant):
        return expression.value
    return resolve(ast.unparse(expression))
