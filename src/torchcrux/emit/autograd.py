"""A call of an autograd function as the class that a user writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torchcrux.emit.calls import argument
from torchcrux.emit.function import Around, Written, block, indented
from torchcrux.emit.names import variables
from torchcrux.program.ir import Body, Node, Program, Ref


def autograd_function(node: Node, names: Mapping[str, str], around: Around) -> Written:
    parts: list[Any] = list(node.args)
    forward, backward, *operands = parts
    name = around.fresh("Function")
    keywords = dict(node.kwargs)
    lines = _forward(forward, keywords, around)
    lines += ["", *_backward(forward, backward, keywords, around)]
    around.definitions += ["", "", f"class {name}(torch.autograd.Function):", *indented(lines)]
    return [], f"{name}.apply({', '.join(argument(one, names) for one in operands)})"


def _forward(body: Body, keywords: dict[str, Any], around: Around) -> list[str]:
    results, saved = _pair(body)
    given: Any = body.result
    program = _in_no_grad(body.program)
    own = variables(program, fixed={"": "ctx"})
    lines = block(program, own, (), around.inside(own.values()), later=body.result)
    kept = [own[ref.name] for ref, tensor in _saved(saved, keywords) if tensor]
    if lines == ["pass"]:
        lines = []
    if kept:
        lines.append(f"ctx.save_for_backward({', '.join(kept)})")
    for i, (ref, tensor) in enumerate(_saved(saved, keywords)):
        if not tensor:
            lines.append(f"ctx.saved_{i} = {argument(ref, own)}")
    fixed = [argument(results[i], own) for i in keywords.get("non_differentiable_idx", ())]
    if fixed:
        lines.append(f"ctx.mark_non_differentiable({', '.join(fixed)})")
    returned = argument(given[0], own)
    lines.append(f"return {returned[1:-1] if len(results) > 1 else returned}")
    parameters = ", ".join(["ctx", *(own[node.name] for node in program.inputs)])
    return ["@staticmethod", f"def forward({parameters}):", *indented(lines)]


def _backward(forward: Body, backward: Body, keywords: dict[str, Any], around: Around) -> list[str]:
    results, saved = _pair(forward)
    program = _in_no_grad(backward.program)
    given = [node.name for node in program.inputs[: len(results)]]
    fixed = {name: f"grad_{i}" if i else "grad" for i, name in enumerate(given)}
    own = variables(program, fixed={"": "ctx", **fixed})
    inputs = [own[node.name] for node in program.inputs]
    gradients, values = inputs[: len(results)], inputs[len(results) :]
    marked = list(zip(values, _saved(saved, keywords), strict=True))
    tensors = [name for name, (_, tensor) in marked if tensor]
    lines = []
    if tensors:
        names = f"({tensors[0]},)" if len(tensors) == 1 else ", ".join(tensors)
        lines.append(f"{names} = ctx.saved_tensors")
    for i, (name, (_, tensor)) in enumerate(marked):
        if not tensor:
            lines.append(f"{name} = ctx.saved_{i}")
    lines += block(program, own, backward.result, around.inside(own.values()))
    return [
        "@staticmethod",
        f"def backward({', '.join(['ctx', *gradients])}):",
        *indented(lines),
    ]


def _in_no_grad(program: Program) -> Program:
    """Without the scopes that are there anyway: autograd calls both functions so."""
    nodes = (
        replace(node, regions=tuple(r for r in node.regions if r.text != "torch.no_grad()"))
        for node in program.nodes
    )
    return replace(program, nodes=tuple(nodes))


def _pair(forward: Body) -> Any:
    """What the forward of an autograd function returns: its results, and what backward needs."""
    given: Any = forward.result
    results, saved = given
    return [results] if isinstance(results, Ref) else results, saved


def _saved(saved: Any, keywords: dict[str, Any]) -> list[tuple[Any, bool]]:
    """What forward keeps for backward, and whether as a tensor or as an attribute."""
    tensors = keywords.get("saved_for_backward_idx", ())
    return [(ref, i in tensors) for i, ref in enumerate(saved)]


def is_autograd_function(node: Node) -> bool:
    parts: list[Any] = list(node.args)
    forward, backward, *operands = parts
    if set(dict(node.kwargs)) != {"non_differentiable_idx", "saved_for_backward_idx"}:
        return False
    results, saved = _pair(forward)
    gradients = backward.result
    simple = all(isinstance(ref, Ref) for ref in (*results, *saved))
    expected = len(results) + len(saved)
    given = len(backward.program.inputs)
    return simple and expected == given and len(gradients) == len(operands)
