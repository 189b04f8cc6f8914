"""Inputs that lie in the same memory, or not at the beginning of theirs."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from torchcrux.emit.inputs import Unmakeable, factory
from torchcrux.program.ir import Node, Program, Value
from torchcrux.program.spec import Tensor

BASE = "base"

Group = Sequence[tuple[Node, Tensor]]


def sharing(program: Program) -> Sequence[Group]:
    """The groups of several inputs in one memory, and the single ones that have an offset."""
    groups: dict[str, list[tuple[Node, Tensor]]] = {}
    for node in program.inputs:
        if isinstance(node.spec, Tensor) and (node.spec.memory or node.spec.offset):
            groups.setdefault(node.spec.memory or node.name, []).append((node, node.spec))
    return [group for group in groups.values() if len(group) > 1 or group[0][1].offset]


def placed(program: Program, names: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """The lines that make such memory, and the expression for each input that lies in it.

    Raises Unmakeable if the inputs of a group have not the same dtype, or stored values that
    overlap in themselves.
    """
    lines: list[str] = []
    found: dict[str, str] = {}
    for group in sharing(program):
        whole = _whole(group)
        if len(group) == 1:
            ((node, spec),) = group
            found[node.name] = _at(factory(whole), spec) + _rest(node, spec)
            continue
        base = base_of(group)
        if base is not None:
            for node, spec in group:
                found[node.name] = (
                    factory(_alone(node, spec)) + ".clone()" * (node.value is Value.STORED)
                    if node.name == base.name
                    else _view(names[base.name], group, base, spec)
                )
            continue
        name = unused(BASE, [*names.values(), *(line.partition(" = ")[0] for line in lines)])
        lines.append(f"{name} = {factory(whole)}")
        for node, spec in group:
            found[node.name] = _at(name, spec) + _rest(node, spec)
    return lines, found


def copied_with_views(
    program: Program, names: Mapping[str, str]
) -> tuple[list[str], dict[str, str]]:
    """The lines that copy inputs which others are views of, and the expressions for the copies and
    for the same views of these."""
    lines: list[str] = []
    found: dict[str, str] = {}
    for group in sharing(program):
        base = base_of(group)
        if base is not None:
            name = unused(BASE, [*names.values(), *found.values()])
            lines.append(f"{name} = {names[base.name]}.clone()")
            for node, spec in group:
                found[node.name] = name if node is base else _view(name, group, base, spec)
    return lines, found


def unused(name: str, taken: Collection[str]) -> str:
    found, number = name, 1
    while found in taken:
        found, number = f"{name}_{number}", number + 1
    return found


def bases(program: Program) -> frozenset[str]:
    """The inputs that stand before others, which are written as views of them."""
    found = [base_of(group) for group in sharing(program)]
    return frozenset(node.name for node in found if node is not None)


def base_of(group: Group) -> Node | None:
    """The input that the others are views of, if these are in it and have no values of their own
    besides."""
    bases = [(node, spec) for node, spec in group if spec.base]
    if len(bases) != 1 or len(group) == 1:
        return None
    ((base, whole),) = bases
    end = max(spec.offset + extent(spec) for _, spec in group)
    if whole.offset or not whole.is_contiguous or extent(whole) < end:
        return None
    alike = all((one.dtype, one.device) == (whole.dtype, whole.device) for _, one in group)
    return base if alike and not any(spec.requires_grad for _, spec in group) else None


def _alone(node: Node, spec: Tensor) -> Node:
    return replace(node, spec=replace(spec, memory="", offset=0, base=False))


def _view(name: str, group: Group, base: Node, spec: Tensor) -> str:
    """A view of the input called `name`: some of its rows, one of them, or what is needed."""
    shape = next(one.shape for node, one in group if node is base)
    row = math.prod(shape[1:])
    if spec.is_contiguous and shape and row and spec.offset % row == 0:
        first = spec.offset // row
        if spec.shape == shape[1:]:
            return f"{name}[{first}]"
        if spec.shape[1:] == shape[1:] and len(spec.shape) == len(shape):
            last = first + spec.shape[0]
            return f"{name}[{first or ''}:{last if last < shape[0] else ''}]"
    flat = name if len(shape) == 1 or not spec.is_contiguous else f"{name}.view(-1)"
    return _at(flat, spec)


def extent(spec: Tensor) -> int:
    """How many elements of memory there are from the first to the last one of a tensor."""
    if 0 in spec.shape:
        return 0
    if spec.is_contiguous or spec.strides is None:
        return spec.elements
    pairs = zip(spec.shape, spec.strides, strict=True)
    return 1 + sum((size - 1) * step for size, step in pairs)


def _whole(group: Group) -> Node:
    """The memory as an input of its own."""
    node, first = group[0]
    if any((spec.dtype, spec.device) != (first.dtype, first.device) for _, spec in group):
        raise Unmakeable(f"{node.name} shares its memory with an input of another dtype")
    size = max(spec.offset + extent(spec) for _, spec in group)
    grad = any(spec.requires_grad and not spec.is_leaf for _, spec in group)
    lows = [spec.low for _, spec in group if spec.low is not None]
    highs = [spec.high for _, spec in group if spec.high is not None]
    spec = Tensor(
        (size,),
        first.dtype,
        first.device,
        requires_grad=grad,
        low=min(lows, default=None),
        high=max(highs, default=None),
    )
    stored = node.value in (Value.STORED, Value.LITERAL)
    return Node(node.name, node.op, spec=spec, value=Value.ZEROS if stored else node.value)


def _at(base: str, spec: Tensor) -> str:
    end = spec.offset + extent(spec)
    if not (spec.is_contiguous or spec.strides is None):
        return f"{base}.as_strided({spec.shape}, {spec.strides}, {spec.offset})"
    if not spec.shape:
        return f"{base}[{spec.offset}]"
    text = f"{base}[{spec.offset or ''}:{end}]"
    return text if len(spec.shape) == 1 else f"{text}.view({', '.join(map(str, spec.shape))})"


def _rest(node: Node, spec: Tensor) -> str:
    """What else is done to the part of the memory that is an input."""
    text = ""
    if node.value in (Value.STORED, Value.LITERAL):
        if not spec.is_contiguous and extent(spec) < spec.elements:
            raise Unmakeable(f"the values of {node.name}, which lie upon one another")
        own = replace(spec, memory="", offset=0, strides=None, requires_grad=False, is_leaf=True)
        text = f".copy_({factory(replace(node, spec=own))})"
    return text + ".requires_grad_()" * (spec.requires_grad and spec.is_leaf)
