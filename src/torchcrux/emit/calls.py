"""One call as the Python a person would write: `torch.relu(x)`, `a + b`, `x[..., 0]`, `x.t()`."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterable, Mapping
from typing import Any

from torchcrux.program.ir import Arg, Atom, Body, Node, Op, Ref, Slice
from torchcrux.program.spec import Number

HIGHER_ORDER = "torch.ops.higher_order."
"""What the names of operators that take functions begin with."""

_BINARY = {
    "add": "+", "sub": "-", "mul": "*", "truediv": "/", "floordiv": "//", "mod": "%",
    "pow": "**", "matmul": "@", "and_": "&", "or_": "|", "xor": "^", "lshift": "<<",
    "rshift": ">>", "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=",
}  # fmt: skip
_INPLACE = {
    "iadd": "+=", "isub": "-=", "imul": "*=", "itruediv": "/=", "ifloordiv": "//=", "imod": "%=",
    "ipow": "**=", "imatmul": "@=", "iand": "&=", "ior": "|=", "ixor": "^=", "ilshift": "<<=",
    "irshift": ">>=",
}  # fmt: skip
_UNARY = {"neg": "-", "pos": "+", "invert": "~", "inv": "~", "not_": "not "}


def texts(values: Iterable[Arg], names: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(argument(value, names) for value in values)


def parts_of(node: Node) -> list[Any]:
    """The arguments of a call that takes functions, whose kinds its form says."""
    return list(node.args)


def argument(arg: Arg, names: Mapping[str, str]) -> str:
    """`arg` as an expression; `names` maps nodes to Python variables."""
    match arg:
        case Ref(name):
            return names[name]
        case Atom(text):
            return text
        case bool() | None | int():
            return repr(arg)
        case float():
            return number(arg)
        case complex():
            if math.isfinite(arg.real) and math.isfinite(arg.imag):
                return repr(arg)
            return f"complex({number(arg.real)}, {number(arg.imag)})"
        case str():
            return quoted(arg)
        case tuple():
            inner = ", ".join(argument(item, names) for item in arg)
            return f"({inner},)" if len(arg) == 1 else f"({inner})"
        case list():
            return "[" + ", ".join(argument(item, names) for item in arg) + "]"
        case dict():
            pairs = (f"{quoted(key)}: {argument(value, names)}" for key, value in arg.items())
            return "{" + ", ".join(pairs) + "}"
        case Slice(start, stop, step):
            parts = ", ".join(argument(part, names) for part in (start, stop, step))
            return f"slice({parts})"
        case Body():
            raise ValueError("a body is written by its higher-order operator")


def number(value: float) -> str:
    if math.isfinite(value):
        return repr(value)
    return f'float("{value}")'


def quoted(text: str) -> str:
    """As ``ruff format`` would: double quotes unless that needs escapes."""
    plain = repr(text)
    if plain.startswith("'") and '"' not in text and "\\" not in plain:
        return f'"{text}"'
    return plain


def expression(node: Node, names: Mapping[str, str]) -> str:
    """The call's value as an expression."""
    args = [argument(arg, names) for arg in node.args]
    keywords = [f"{key}={argument(value, names)}" for key, value in node.kwargs]
    if node.op is Op.METHOD:
        return f"{_operand(args[0])}.{node.target}({', '.join(args[1:] + keywords)})"
    name = node.target.removeprefix("operator.")
    if name != node.target and not keywords:
        if name == "pow" and len(args) == 2 and is_simple(args[0]) and is_simple(args[1], "-"):
            return f"{args[0]}**{args[1]}"
        if name in _BINARY and len(args) == 2:
            return f"{_operand(args[0])} {_BINARY[name]} {_operand(args[1])}"
        if name in _UNARY and len(args) == 1:
            return f"{_UNARY[name]}{_operand(args[0])}"
        if name in _INPLACE and len(args) == 2:
            return f"{_operand(args[0])} {_INPLACE[name][:-1]} {_operand(args[1])}"
        if name == "getitem" and len(args) == 2:
            return f"{args[0]}[{_index(node.args[1], names)}]"
        if name == "abs":
            return f"abs({args[0]})"
    if node.target == "builtins.getattr" and len(args) > 1 and isinstance(node.args[1], str):
        return f"{_operand(args[0])}.{node.args[1]}"
    return f"{function(node.target)}({', '.join(args + keywords)})"


def statement(node: Node, names: Mapping[str, str]) -> str | None:
    """The call as an assignment to its first operand (``x += 1``, ``x[0] = 1``), if it is one."""
    name = node.target.removeprefix("operator.")
    if name == node.target or not node.args or not isinstance(node.args[0], Ref):
        return None
    target = names[node.args[0].name]
    if name == "setitem" and len(node.args) == 3:
        return f"{target}[{_index(node.args[1], names)}] = {argument(node.args[2], names)}"
    if rebinds(node):
        return f"{target} {_INPLACE[name]} {argument(node.args[1], names)}"
    return None


def rebinds(node: Node) -> bool:
    """Whether the call's value is the variable of its first operand (``x += 1``): a tensor is
    changed in place, a number is not."""
    return (
        node.target.startswith("operator.i")
        and node.target.removeprefix("operator.") in _INPLACE
        and isinstance(node.args[0], Ref)
        and not isinstance(node.spec, Number)
    )


def function(target: str) -> str:
    if target.startswith("torch.nn.functional."):
        return "F." + target.removeprefix("torch.nn.functional.")
    return target.removeprefix("builtins.")


def is_simple(text: str, sign: str = "") -> bool:
    """Whether ``ruff format`` puts no spaces around ``**`` next to `text`: a name or a number,
    which may begin with `sign`."""
    return text.removeprefix(sign).replace(".", "").replace("_", "").isalnum()


def _operand(text: str) -> str:
    if text.startswith("-") or (" " in text and not is_primary(text)):
        return f"({text})"
    return text


def is_primary(text: str) -> bool:
    """Whether an attribute or a subscript of the expression needs no parentheses."""
    kind = ast.parse(text, mode="eval").body
    return isinstance(kind, (ast.Call, ast.Attribute, ast.Subscript, ast.Name)) or (
        text[0] in "([{" and not isinstance(kind, ast.BinOp)
    )


def _index(arg: Arg, names: Mapping[str, str]) -> str:
    if isinstance(arg, tuple) and arg:
        inner = ", ".join(_index(item, names) for item in arg)
        return inner + "," if len(arg) == 1 else inner
    if isinstance(arg, Slice):
        start, stop, step = (
            "" if part is None else argument(part, names)
            for part in (arg.start, arg.stop, arg.step)
        )
        return f"{start}:{stop}" + (f":{step}" if step else "")
    return argument(arg, names)
