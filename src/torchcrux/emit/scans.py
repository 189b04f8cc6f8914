"""`map`, `scan` and `associative_scan`, with functions that take one value or a tuple of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from torchcrux.emit.calls import HIGHER_ORDER, argument, parts_of, texts
from torchcrux.emit.function import Around, Written, block, given, indented
from torchcrux.emit.names import variables
from torchcrux.program.ir import Arg, Body, Node, Ref

Names: TypeAlias = Mapping[str, str]

ASSOCIATIVE_SCAN = f"{HIGHER_ORDER}associative_scan"


def mapped(node: Node, names: Names, around: Around) -> Written:
    body, over, more = parts_of(node)
    if len(over) == 1:
        lines, function = given("step", body, around)
    else:
        function = around.fresh("step")
        groups = [("xs", len(over)), *(("", 1) for _ in more)]
        lines = _grouped(function, body, around, groups)
    parts = ", ".join([function, _one_or_all(over, names), *texts(more, names)])
    return lines, f"torch._higher_order_ops.map({parts})"


def scan(node: Node, names: Names, around: Around) -> Written:
    """What it returns is flat where it is written: first what was carried, then the results of all
    steps."""
    body, carried, scanned, more = parts_of(node)
    around.imports["from torch._higher_order_ops.scan import scan"] = None
    states = len(carried)
    returned = tuple(body.result)
    free = texts(more, names)
    if states == len(scanned) == len(returned) - 1 == 1:
        lines, function = given("combine_fn", Body(body.program, returned), around, free)
    else:
        nested_pair = (_one_of(returned[:states]), _one_of(returned[states:]))
        step = Body(body.program, nested_pair)
        function = around.fresh("combine_fn")
        groups = [("carry", states), ("xs", len(scanned))]
        lines = _grouped(function, step, around, groups, free)
    text = f"scan({function}, {_one_or_all(carried, names)}, {_one_or_all(scanned, names)})"
    if len(returned) == 2:
        return lines, text
    carry, out = around.fresh("carry"), around.fresh("out")
    parts = [f"*{carry}" if states > 1 else carry, f"*{out}" if len(returned) > states + 1 else out]
    return [*lines, f"{carry}, {out} = {text}"], f"({', '.join(parts)})"


def is_scan(node: Node) -> bool:
    body, carried, scanned, _ = parts_of(node)
    return len(carried) > 0 and len(scanned) > 0 and len(body.result) > len(carried)


def associative_scan(node: Node, names: Names, around: Around) -> Written:
    body, scanned, more = parts_of(node)
    around.imports["from torch._higher_order_ops.associative_scan import associative_scan"] = None
    bare = isinstance(body.result, Ref)
    step = body if bare else Body(body.program, _one_of(tuple(body.result)))
    function = around.fresh("combine_fn")
    groups = [("a", len(scanned)), ("b", len(scanned))]
    lines = _grouped(function, step, around, groups, texts(more, names))
    text = f"associative_scan({function}, {_one_or_all(scanned, names)}, 0)"
    return lines, text if bare or len(scanned) > 1 else f"({text},)"


def _one_of(values: tuple[Arg, ...]) -> Arg:
    """The one value; a tuple of several."""
    return values[0] if len(values) == 1 else values


def _one_or_all(values: Sequence[Arg], names: Names) -> str:
    return argument(_one_of(tuple(values)), names)


def _grouped(
    name: str,
    body: Body,
    around: Around,
    groups: Sequence[tuple[str, int]],
    enclosing: tuple[str, ...] = (),
) -> list[str]:
    """The lines of a function whose parameters are groups of the inputs of `body`: of each its
    name and how many inputs it has. Its last inputs are the `enclosing` expressions."""
    inputs = [node.name for node in body.program.inputs]
    own = len(inputs) - len(enclosing)
    names = variables(body.program, fixed=dict(zip(inputs[own:], enclosing, strict=True)))
    inner = around.inside(names.values())
    left = iter([names[key] for key in inputs[:own]])
    parameters: list[str] = []
    unpacked: list[str] = []
    for group, count in groups:
        held = [next(left) for _ in range(count)]
        if count == 1:
            parameters += held
        else:
            parameters.append(inner.fresh(group))
            unpacked.append(f"{', '.join(held)} = {parameters[-1]}")
    lines = block(body.program, names, body.result, inner)
    return [f"def {name}({', '.join(parameters)}):", *indented([*unpacked, *lines])]
