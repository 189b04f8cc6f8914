"""An input as a line of a script: a plain factory with a small literal shape."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import accumulate

from torchcrux.emit.calls import argument, quoted
from torchcrux.emit.literals import literal
from torchcrux.program.ir import Node, Value
from torchcrux.program.spec import Number, Sequence, Tensor, contiguous_strides, tensors
from torchcrux.program.wrapping import written

_DEFAULT_DTYPES = {"float32", "int64", "bool"}
_RANDN = {"float16", "bfloat16", "float32", "float64", "complex64", "complex128"}
_RANDINT = {"uint8", "int8", "int16", "int32", "int64", "bool", "float16", "float32", "float64"}


class Unmakeable(ValueError):
    """No factory makes such a value; the message says what it is."""


def uses_random(node: Node) -> bool:
    """Whether the line for this input draws random numbers."""
    return any(
        not (_is_integer(spec) and spec.low is not None and spec.low == spec.high)
        for spec in tensors(node.spec)
        if node.value is Value.RANDOM and not spec.parts
    )


def factory(node: Node) -> str:
    """The expression that makes the value of an input.

    Raises Unmakeable for what is no tensor and has no literal.
    """
    match node.spec:
        case Tensor() as spec:
            return _tensor(spec, node)
        case Number(value):
            return argument(value, {})
        case Sequence(items):
            parts = [
                _tensor(item, node, f"{node.name}.{i}")
                for i, item in enumerate(items)
                if isinstance(item, Tensor)
            ]
            return f"({', '.join(parts)},)" if len(parts) == 1 else f"({', '.join(parts)})"
        case None:
            return "None"
    raise Unmakeable(f"the input {node.name} is {node.spec}")


def _tensor(spec: Tensor, node: Node, key: str = "") -> str:
    if spec.parts:
        inner = {name: _tensor(one, node, f"{key or node.name}.{name}") for name, one in spec.parts}
        return written(spec, inner) + _differentiable(spec)
    if spec.form:
        return spec.form.format(_tensor(replace(spec, form=""), node, key))
    if spec.lengths:
        lengths = spec.lengths if len(spec.lengths) > 1 else spec.shape[:1]
        if sum(lengths) != spec.shape[0]:
            raise Unmakeable(f"the rows of the nested tensor {node.name} are not as many as it has")
        offsets = list(accumulate(lengths, initial=0))
        values = _tensor(replace(spec, lengths=()), node, key)
        return f"torch.nested.nested_tensor_from_jagged({values}, torch.tensor({offsets}))"
    plain = spec.is_contiguous and spec.is_leaf and not spec.conj
    if node.value is Value.ARANGE and len(spec.shape) != 1:
        plain = plain and not spec.requires_grad  # `view` takes no such argument
    if plain and node.value is not Value.STORED and spec.dtype in _RANDN | _RANDINT:
        return _dense(spec, spec.shape, node, key, grad=spec.requires_grad)
    return _laid_out(spec, node, key)


def _dense(
    spec: Tensor, shape: tuple[int, ...], node: Node, key: str, *, grad: bool = False
) -> str:
    """A contiguous tensor with the dtype, device and values of `spec`, in `shape`."""
    options = []
    if spec.dtype not in _DEFAULT_DTYPES:
        options.append(f"dtype=torch.{spec.dtype}")
    if spec.device != "cpu":
        options.append(f"device={quoted(spec.device)}")
    if grad:
        options.append("requires_grad=True")
    sizes = argument(shape, {}) if len(shape) != 1 else str(shape[0])
    if len(shape) > 1:
        sizes = sizes[1:-1]
    match node.value:
        case Value.STORED:
            text = f"data[{quoted(key or node.name)}]"
            return text + (f".to({quoted(spec.device)})" if spec.device != "cpu" else "")
        case Value.LITERAL:
            return literal(node.elements, shape, options)
        case Value.ZEROS | Value.ONES:
            if spec.dtype in ("int64", "bool"):
                options.insert(0, f"dtype=torch.{spec.dtype}")
            return f"torch.{node.value.value}({', '.join([sizes, *options])})"
        case Value.ARANGE:
            return _numbered(spec, shape, options)
    if _is_integer(spec):
        low, high = _range(spec)
        if low == high and low in (0, 1):
            kind = "ones" if low else "zeros"
            if spec.dtype in _DEFAULT_DTYPES:
                options.insert(0, f"dtype=torch.{spec.dtype}")
            return f"torch.{kind}({', '.join([sizes, *options])})"
        if low == high:
            return f"torch.full({', '.join([argument(shape, {}), str(low), *options])})"
        if spec.dtype == "bool":
            options.insert(0, "dtype=torch.bool")
        bounds = f"{high + 1}" if low == 0 else f"{low}, {high + 1}"
        if spec.dtype in _RANDINT:
            return f"torch.randint({', '.join([bounds, argument(shape, {}), *options])})"
        options = [option for option in options if not option.startswith("dtype")]
        made = f"torch.randint({', '.join([bounds, argument(shape, {}), *options])})"
        return f"{made}.to(torch.{spec.dtype})"
    if spec.dtype in _RANDN:
        return f"torch.randn({', '.join([sizes if shape else '()', *options])})"
    options = [option for option in options if not option.startswith("dtype")]
    return f"torch.randn({', '.join([sizes if shape else '()', *options])}).to(torch.{spec.dtype})"


def _numbered(spec: Tensor, shape: tuple[int, ...], options: list[str]) -> str:
    end = math.prod(shape)
    whole = _is_integer(spec) or any(option.startswith("dtype") for option in options)
    text = f"torch.arange({', '.join([str(end) if whole else f'{end}.0', *options])})"
    if len(shape) == 1:
        return text
    return f"{text}.view({', '.join(map(str, shape)) or '()'})"


def _laid_out(spec: Tensor, node: Node, key: str) -> str:
    """A tensor whose strides are not row-major, or that is not a leaf."""
    shape, strides = spec.shape, spec.strides
    if node.value is Value.STORED or spec.is_contiguous or strides is None:
        text = _dense(spec, shape, node, key)
    elif node.value is Value.LITERAL or 0 in shape:
        text = _dense(spec, shape, node, key)
        text = f"torch.empty_strided({shape}, {strides}, dtype=torch.{spec.dtype}).copy_({text})"
    else:
        text = _strided(spec, shape, strides, node, key)
    if node.value is Value.STORED and not spec.is_contiguous and strides is not None:
        device = f", device={quoted(spec.device)}" if spec.device != "cpu" else ""
        made = f"torch.empty_strided({shape}, {strides}, dtype=torch.{spec.dtype}{device})"
        if any(step == 0 and size > 1 for size, step in zip(shape, strides, strict=True)):
            text = _expanded(text, shape, strides)
        else:
            text = f"{made}.copy_({text})"
    if spec.conj:
        stored = node.value in (Value.STORED, Value.LITERAL)
        text += ".conj_physical().conj()" if stored else ".conj()"
    return text + _differentiable(spec)


def _differentiable(spec: Tensor) -> str:
    if not spec.requires_grad:
        return ""
    return ".requires_grad_()" if spec.is_leaf else ".requires_grad_().clone()"


def _expanded(text: str, shape: tuple[int, ...], strides: tuple[int, ...]) -> str:
    index = ", ".join(
        ":1" if step == 0 and size > 1 else ":" for size, step in zip(shape, strides, strict=True)
    )
    return f"{text}[{index}].expand({', '.join(map(str, shape))})"


def _strided(
    spec: Tensor, shape: tuple[int, ...], strides: tuple[int, ...], node: Node, key: str
) -> str:
    expanded = [size > 1 and step == 0 for size, step in zip(shape, strides, strict=True)]
    if any(expanded):
        base = tuple(1 if e else size for size, e in zip(shape, expanded, strict=True))
        dense = contiguous_strides(base)
        if all(
            e or size == 1 or have == want
            for e, size, have, want in zip(expanded, base, strides, dense, strict=True)
        ):
            made = _dense(spec, base, node, key)
            return f"{made}.expand({', '.join(map(str, shape))})"
    order = sorted(range(len(shape)), key=lambda d: (-strides[d], -shape[d], d))
    permuted = tuple(shape[d] for d in order)
    inverse = tuple(order.index(d) for d in range(len(shape)))
    want = contiguous_strides(permuted)
    if all(shape[d] == 1 or strides[d] == want[i] for i, d in enumerate(order)):
        made = _dense(spec, permuted, node, key)
        moved = [d for d, i in enumerate(inverse) if i != d]
        if len(shape) == 2 and moved:
            return f"{made}.t()"
        if len(moved) == 2:
            return f"{made}.transpose({moved[0]}, {moved[1]})"
        return f"{made}.permute({', '.join(map(str, inverse))})"
    extent = 1 + sum((size - 1) * step for size, step in zip(shape, strides, strict=True))
    return f"{_dense(spec, (extent,), node, key)}.as_strided({shape}, {strides})"


def _is_integer(spec: Tensor) -> bool:
    return not spec.is_floating


def _range(spec: Tensor) -> tuple[int, int]:
    if spec.low is None or spec.high is None:
        return (0, 1)
    return spec.low, spec.high
