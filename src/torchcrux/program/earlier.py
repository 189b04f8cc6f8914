"""Calls of other sizes before the one that fails: what a compiler had taken the symbols for."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from torchcrux.program.ir import Program
from torchcrux.program.spec import (
    Number,
    Sequence,
    Spec,
    Tensor,
    contiguous_strides,
)

Sizes: TypeAlias = tuple[tuple[str, int], ...]
"""What each symbol stands for."""

_OPERATORS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


def symbols_of(program: Program) -> dict[str, int]:
    """What each symbol that is the size of a dimension, or a number, stands for in `program`."""
    found: dict[str, int] = {}
    for node in program.inputs:
        match node.spec:
            case Tensor(shape, symbols=symbols) if symbols:
                pairs = [*zip(symbols, shape, strict=True)]
            case Number(int(value), symbol):
                pairs = [(symbol, value)]
            case _:
                continue
        for symbol, size in pairs:
            if symbol.isidentifier():
                found.setdefault(symbol, size)
    return found


def other_sizes(shown: Program, called: Program) -> tuple[Sizes, ...]:
    """The sizes that the compiler was `shown`, as the only call before, if any are others than
    those of the call."""
    known = symbols_of(shown)
    return () if known == {**known, **symbols_of(called)} else (tuple(known.items()),)


def sized(spec: Spec | None, sizes: Mapping[str, int]) -> Spec | None:
    """`spec` with other `sizes` for its symbols; what depends on other symbols stays as it is."""
    match spec:
        case Tensor(shape, symbols=symbols) if any(symbols):
            changed = tuple(
                _valued(symbol, sizes, size) for symbol, size in zip(symbols, shape, strict=True)
            )
            strides = spec.strides and _in_the_order_of(spec.strides, changed)
            return replace(spec, shape=changed, strides=strides, memory="", offset=0, base=False)
        case Number(int(value), symbol) if symbol:
            return Number(_valued(symbol, sizes, value), symbol)
        case Sequence(items):
            return Sequence(tuple(sized(item, sizes) or item for item in items))
    return spec


def _in_the_order_of(strides: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    """Dense strides for `shape` with the dimensions in the order that `strides` have, expanded
    where those are."""
    order = sorted(range(len(shape)), key=lambda d: (-strides[d], d))
    kept = [1 if strides[d] == 0 else shape[d] for d in order]
    dense = dict(zip(order, contiguous_strides(tuple(kept)), strict=True))
    return tuple(dense[d] if strides[d] else 0 for d in range(len(shape)))


def _valued(symbol: str, sizes: Mapping[str, int], otherwise: int) -> int:
    """The value of an expression over symbols, such as ``2*s0 + 1``."""
    if not symbol:
        return otherwise
    try:
        return max(0, _value(ast.parse(symbol, mode="eval").body, sizes))
    except (LookupError, SyntaxError, ZeroDivisionError):
        return otherwise


def _value(node: ast.expr, sizes: Mapping[str, int]) -> int:
    match node:
        case ast.Name(name):
            return sizes[name]
        case ast.Constant(int(value)):
            return value
        case ast.UnaryOp(ast.USub(), operand):
            return -_value(operand, sizes)
        case ast.BinOp(left, symbol, right):
            compute: Any = _OPERATORS[type(symbol)]
            return int(compute(_value(left, sizes), _value(right, sizes)))
    raise LookupError(ast.unparse(node))
