"""Calls that take functions, as a user writes them: `torch.cond`, `checkpoint`, `torch.vmap`.

The compiler sees each as a higher-order operator over bodies whose free variables are lifted into
operands. Here the bodies become functions again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from torchcrux.emit.calls import argument
from torchcrux.emit.function import Around, Written, block, indented, nested
from torchcrux.emit.names import variables
from torchcrux.program.ir import Atom, Body, Node, Program, Ref

Names: TypeAlias = Mapping[str, str]

HIGHER_ORDER = "torch.ops.higher_order."
VMAP = "torch.vmap"
GRAD, GRAD_AND_VALUE = "torch.func.grad", "torch.func.grad_and_value"
VJP, JVP = "torch.func.vjp", "torch.func.jvp"
JACREV, JACFWD = "torch.func.jacrev", "torch.func.jacfwd"
CALL = "operator.call"
FLEX_ATTENTION = "torch.nn.attention.flex_attention.flex_attention"


@dataclass(frozen=True)
class Form:
    """How one operator is written. `fits` says whether a call has the shape that `write` knows."""

    write: Callable[[Node, Names, Around], Written]
    fits: Callable[[Node], bool]


def why_not(node: Node) -> str | None:
    """Why a call of a higher-order operator cannot be written; None if it can."""
    if not node.target.startswith(HIGHER_ORDER):
        return None
    name = node.target.removeprefix(HIGHER_ORDER)
    form = FORMS.get(node.target)
    if form is None:
        return f"the higher-order operator {name}, which has no text yet"
    try:
        fits = form.fits(node)
    except (TypeError, ValueError, IndexError, AttributeError):
        fits = False  # the operands are not even of the kinds that the form looks at
    return None if fits else f"a call of the higher-order operator {name} in a form not known"


def _operands(node: Node) -> list[Any]:
    """The arguments, whose kinds the form of the operator says."""
    return list(node.args)


def _texts(operands: Any, names: Names) -> tuple[str, ...]:
    return tuple(argument(operand, names) for operand in operands)


def _keywords(node: Node, names: Names) -> list[str]:
    return [f"{key}={argument(value, names)}" for key, value in node.kwargs]


def _cond(node: Node, names: Names, around: Around) -> Written:
    predicate, yes, no, operands = _operands(node)
    on_true, on_false = around.fresh("true_fn"), around.fresh("false_fn")
    lines = [*nested(on_true, yes, around), *nested(on_false, no, around)]
    parts = (argument(predicate, names), on_true, on_false, argument(tuple(operands), names))
    return lines, f"torch.cond({', '.join(parts)})"


def _while_loop(node: Node, names: Names, around: Around) -> Written:
    test, body, carried, more = _operands(node)
    while_, do = around.fresh("cond_fn"), around.fresh("body_fn")
    free = _texts(more, names)
    lines = [*nested(while_, test, around, free), *nested(do, body, around, free)]
    return lines, f"torch.while_loop({while_}, {do}, {argument(tuple(carried), names)})"


def _checkpoint(node: Node, names: Names, around: Around) -> Written:
    body, *operands = _operands(node)
    around.imports["from torch.utils.checkpoint import checkpoint"] = None
    name = around.fresh("block")
    parts = [name, *_texts(operands, names), *_keywords(node, names)]
    return nested(name, body, around), f"checkpoint({', '.join(parts)})"


def _map(node: Node, names: Names, around: Around) -> Written:
    body, mapped, more = _operands(node)
    name = around.fresh("step")
    lines = nested(name, body, around)
    parts = ", ".join([name, argument(mapped, names), argument(more, names)])
    return lines, f"torch.ops.higher_order.map_impl({parts})"


def _scan(node: Node, names: Names, around: Around) -> Written:
    body, carried, scanned, more = _operands(node)
    around.imports["from torch._higher_order_ops.scan import scan"] = None
    name = around.fresh("combine_fn")
    lines = nested(name, Body(body.program, tuple(body.result)), around, _texts(more, names))
    parts = ", ".join([name, *_texts((*carried, *scanned), names)])
    return lines, f"scan({parts})"


def _scans(node: Node) -> bool:
    """One carried value, one sequence, one result a step: the others need nested structures."""
    body, carried, scanned, _ = _operands(node)
    return len(carried) == len(scanned) == 1 and len(body.result) == 2


def _region(node: Node, names: Names, around: Around) -> Written:
    body, _, *operands = _operands(node)
    name = next((name for known, name in around.regions if known == body), "")
    if not name:
        name = around.fresh("region")
        around.regions.append((body, name))
        lines = nested(name, body, around)
        around.definitions += ["", "", "@torch.compiler.nested_compile_region", *lines]
    return [], f"{name}({', '.join(_texts(operands, names))})"


def _transformed(node: Node, names: Names, around: Around) -> Written:
    body, *operands = _operands(node)
    name = around.fresh("each" if node.target == VMAP else "g")
    lines = nested(name, body, around)
    made = ", ".join([name, *_keywords(node, names)])
    return lines, f"{node.target}({made})({', '.join(_texts(operands, names))})"


def _vjp(node: Node, names: Names, around: Around) -> Written:
    body, primals, free = _operands(node)
    name = around.fresh("g")
    lines = nested(name, body, around, _texts(free, names))
    return lines, f"torch.func.vjp({', '.join([name, *_texts(primals, names)])})"


def _jvp(node: Node, names: Names, around: Around) -> Written:
    body, primals, tangents, free = _operands(node)
    name = around.fresh("g")
    lines = nested(name, body, around, _texts(free, names))
    parts = ", ".join([name, *_texts((primals, tangents), names)])
    return lines, f"torch.func.jvp({parts})"


def _call(node: Node, names: Names, around: Around) -> Written:
    function, *operands = _texts(node.args, names)
    return [], f"{function}({', '.join(operands)})"


def _flex_attention(node: Node, names: Names, around: Around) -> Written:
    query, key, value, score, block_mask, scale, options, free, mask_free = _operands(node)
    score_mod, mask_mod = around.fresh("score_mod"), around.fresh("mask_mod")
    *facts, mask = block_mask
    lines = [
        *nested(score_mod, score, around, _texts(free, names)),
        *nested(mask_mod, mask, around, _texts(mask_free, names)),
    ]
    whole = (query, key, value, Atom(score_mod), (*facts, Atom(mask_mod)), scale, options)
    return lines, f"torch.ops.higher_order.flex_attention({', '.join(_texts(whole, names))})"


def _public_flex_attention(node: Node, names: Names, around: Around) -> Written:
    around.imports[f"from {FLEX_ATTENTION.rpartition('.')[0]} import flex_attention"] = None
    operands = [arg for arg in node.args if not isinstance(arg, Body)]
    keywords = dict(node.kwargs)
    score, free = keywords.pop("score_mod", None), keywords.pop("buffers", ())
    lines, parts = [], [*_texts(operands, names)]
    if isinstance(score, Body):
        score_mod = around.fresh("score_mod")
        lines = nested(score_mod, score, around, _texts(free, names))
        parts.append(f"score_mod={score_mod}")
    parts += [f"{key}={argument(value, names)}" for key, value in keywords.items()]
    return lines, f"flex_attention({', '.join(parts)})"


def _autograd_function(node: Node, names: Names, around: Around) -> Written:
    forward, backward, *operands = _operands(node)
    name = around.fresh("Function")
    keywords = dict(node.kwargs)
    lines = _forward(forward, keywords, around)
    lines += ["", *_backward(forward, backward, keywords, around)]
    around.definitions += ["", "", f"class {name}(torch.autograd.Function):", *indented(lines)]
    return [], f"{name}.apply({', '.join(_texts(operands, names))})"


def _forward(body: Body, keywords: dict[str, Any], around: Around) -> list[str]:
    results, saved = _pair(body)
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
    returned = argument(tuple(results), own)
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
    return forward.result


def _saved(saved: Any, keywords: dict[str, Any]) -> list[tuple[Any, bool]]:
    """What forward keeps for backward, and whether as a tensor or as an attribute."""
    tensors = keywords.get("saved_for_backward_idx", ())
    return [(ref, i in tensors) for i, ref in enumerate(saved)]


def _is_autograd_function(node: Node) -> bool:
    forward, backward, *operands = _operands(node)
    if set(dict(node.kwargs)) != {"non_differentiable_idx", "saved_for_backward_idx"}:
        return False
    results, saved = _pair(forward)
    gradients = backward.result
    simple = all(isinstance(ref, Ref) for ref in (*results, *saved))
    expected = len(results) + len(saved)
    given = len(backward.program.inputs)
    return simple and expected == given and len(gradients) == len(operands)


def _always(node: Node) -> bool:
    return True


def _has_bodies(*places: int) -> Callable[[Node], bool]:
    def fits(node: Node) -> bool:
        return all(isinstance(node.args[place], Body) for place in places)

    return fits


def _is_flex_attention(node: Node) -> bool:
    return isinstance(node.args[3], Body) and isinstance(_operands(node)[4][-1], Body)


FORMS: Mapping[str, Form] = {
    f"{HIGHER_ORDER}cond": Form(_cond, _has_bodies(1, 2)),
    f"{HIGHER_ORDER}while_loop": Form(_while_loop, _has_bodies(0, 1)),
    f"{HIGHER_ORDER}tag_activation_checkpoint": Form(_checkpoint, _has_bodies(0)),
    f"{HIGHER_ORDER}map_impl": Form(_map, _has_bodies(0)),
    f"{HIGHER_ORDER}scan": Form(_scan, _scans),
    f"{HIGHER_ORDER}invoke_subgraph": Form(_region, _has_bodies(0)),
    f"{HIGHER_ORDER}autograd_function_apply": Form(_autograd_function, _is_autograd_function),
    f"{HIGHER_ORDER}flex_attention": Form(_flex_attention, _is_flex_attention),
    FLEX_ATTENTION: Form(_public_flex_attention, _always),
    **dict.fromkeys(
        (VMAP, GRAD, GRAD_AND_VALUE, JACREV, JACFWD), Form(_transformed, _has_bodies(0))
    ),
    VJP: Form(_vjp, _has_bodies(0)),
    JVP: Form(_jvp, _has_bodies(0)),
    CALL: Form(_call, _always),
}


def surroundings() -> Around:
    """The surroundings of a script without anything in it yet."""
    return Around({target: form.write for target, form in FORMS.items()})
