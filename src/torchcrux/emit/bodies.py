"""Calls that take functions, as a user writes them: `torch.cond`, `checkpoint`, `torch.vmap`.

The compiler sees each as a higher-order operator over bodies whose free variables are lifted into
operands. Here the bodies become functions again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from torchcrux.emit.attention import (
    FLEX_ATTENTION,
    flex_attention,
    is_raw_flex_attention,
    raw_flex_attention,
)
from torchcrux.emit.autograd import autograd_function, is_autograd_function
from torchcrux.emit.calls import HIGHER_ORDER, argument, parts_of, texts
from torchcrux.emit.function import Around, Written, given, nested
from torchcrux.emit.scans import ASSOCIATIVE_SCAN, associative_scan, is_scan, mapped, scan
from torchcrux.program.ir import Body, Node, Ref
from torchcrux.program.spec import Number

Names: TypeAlias = Mapping[str, str]

VMAP = "torch.vmap"
GRAD, GRAD_AND_VALUE = "torch.func.grad", "torch.func.grad_and_value"
VJP, JVP = "torch.func.vjp", "torch.func.jvp"
JACREV, JACFWD = "torch.func.jacrev", "torch.func.jacfwd"
CALL = "operator.call"


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


def _keywords(node: Node, names: Names) -> list[str]:
    return [f"{key}={argument(value, names)}" for key, value in node.kwargs]


def _cond(node: Node, names: Names, around: Around) -> Written:
    """Its operands are tensors: a function refers to a number where it is defined."""
    predicate, yes, no, operands = parts_of(node)
    bodies = (yes.program.inputs, no.program.inputs)
    numbers = [
        any(isinstance(body[i].spec, Number) for body in bodies) for i in range(len(operands))
    ]
    order = sorted(range(len(operands)), key=numbers.__getitem__)
    free = texts([operands[i] for i in order if numbers[i]], names)
    given_to = tuple(operands[i] for i in order if not numbers[i])
    first, on_true = given("true_fn", _reordered(yes, order), around, free)
    second, on_false = given("false_fn", _reordered(no, order), around, free)
    parts = (argument(predicate, names), on_true, on_false, argument(given_to, names))
    return [*first, *second], f"torch.cond({', '.join(parts)})"


def _reordered(body: Body, order: Sequence[int]) -> Body:
    """`body` with its inputs in another order."""
    inputs = [body.program.inputs[i] for i in order]
    nodes = (*inputs, *body.program.calls)
    return replace(body, program=replace(body.program, nodes=nodes))


def _while_loop(node: Node, names: Names, around: Around) -> Written:
    test, body, carried, more = parts_of(node)
    free = texts(more, names)
    first, while_ = given("cond_fn", test, around, free)
    second, do = given("body_fn", body, around, free)
    text = f"torch.while_loop({while_}, {do}, {argument(tuple(carried), names)})"
    return [*first, *second], text


def _checkpoint(node: Node, names: Names, around: Around) -> Written:
    body, *operands = parts_of(node)
    around.imports["from torch.utils.checkpoint import checkpoint"] = None
    lines, function = given("block", body, around)
    parts = [function, *texts(operands, names), *_keywords(node, names)]
    return lines, f"checkpoint({', '.join(parts)})"


def _region(node: Node, names: Names, around: Around) -> Written:
    body, _, *operands = parts_of(node)
    name = next((name for known, name in around.regions if known == body), "")
    if not name:
        name = around.fresh("region")
        around.regions.append((body, name))
        lines = nested(name, body, around)
        around.definitions += ["", "", "@torch.compiler.nested_compile_region", *lines]
    return [], f"{name}({', '.join(texts(operands, names))})"


def _transformed(node: Node, names: Names, around: Around) -> Written:
    lines, made = _transform(node, names, around)
    return lines, f"{made}({', '.join(texts(parts_of(node)[1:], names))})"


def _transform(node: Node, names: Names, around: Around) -> Written:
    """The function that a transform makes; around a function that only calls what another
    transform makes, that one goes without saying."""
    body = parts_of(node)[0]
    inner = _only_call(body)
    if inner is None:
        lines, function = given("each" if node.target == VMAP else "g", body, around)
    else:
        lines, function = _transform(inner, {}, around)
    return lines, f"{node.target}({', '.join([function, *_keywords(node, names)])})"


def _only_call(body: Body) -> Node | None:
    """The transform of which `body` calls what it makes, with its own inputs and nothing else."""
    inputs, calls = body.program.inputs, body.program.calls
    if len(calls) != 1 or FORMS.get(calls[0].target) is not TRANSFORMED or calls[0].regions:
        return None
    own = [Ref(node.name) for node in inputs]
    named = any(isinstance(value, Ref) for _, value in calls[0].kwargs)
    same = parts_of(calls[0])[1:] == own and body.result == Ref(calls[0].name)
    return calls[0] if same and not named else None


def _vjp(node: Node, names: Names, around: Around) -> Written:
    body, primals, free = parts_of(node)
    lines, function = given("g", body, around, texts(free, names))
    return lines, f"torch.func.vjp({', '.join([function, *texts(primals, names)])})"


def _jvp(node: Node, names: Names, around: Around) -> Written:
    body, primals, tangents, free = parts_of(node)
    lines, function = given("g", body, around, texts(free, names))
    parts = ", ".join([function, *texts((primals, tangents), names)])
    return lines, f"torch.func.jvp({parts})"


def _call(node: Node, names: Names, around: Around) -> Written:
    function, *operands = texts(node.args, names)
    return [], f"{function}({', '.join(operands)})"


def _always(node: Node) -> bool:
    return True


def _has_bodies(*places: int) -> Callable[[Node], bool]:
    def fits(node: Node) -> bool:
        return all(isinstance(node.args[place], Body) for place in places)

    return fits


TRANSFORMED = Form(_transformed, _has_bodies(0))

FORMS: Mapping[str, Form] = {
    f"{HIGHER_ORDER}cond": Form(_cond, _has_bodies(1, 2)),
    f"{HIGHER_ORDER}while_loop": Form(_while_loop, _has_bodies(0, 1)),
    f"{HIGHER_ORDER}tag_activation_checkpoint": Form(_checkpoint, _has_bodies(0)),
    f"{HIGHER_ORDER}map_impl": Form(mapped, _has_bodies(0)),
    f"{HIGHER_ORDER}scan": Form(scan, is_scan),
    ASSOCIATIVE_SCAN: Form(associative_scan, _has_bodies(0)),
    f"{HIGHER_ORDER}invoke_subgraph": Form(_region, _has_bodies(0)),
    f"{HIGHER_ORDER}autograd_function_apply": Form(autograd_function, is_autograd_function),
    f"{HIGHER_ORDER}flex_attention": Form(raw_flex_attention, is_raw_flex_attention),
    FLEX_ATTENTION: Form(flex_attention, _always),
    **dict.fromkeys((VMAP, GRAD, GRAD_AND_VALUE, JACREV, JACFWD), TRANSFORMED),
    VJP: Form(_vjp, _has_bodies(0)),
    JVP: Form(_jvp, _has_bodies(0)),
    CALL: Form(_call, _always),
}


def surroundings() -> Around:
    """The surroundings of a script without anything in it yet."""
    return Around({target: form.write for target, form in FORMS.items()})
