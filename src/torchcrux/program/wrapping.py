"""The text that makes a tensor subclass around other tensors.

It is a format string: the attributes that hold the inner tensors are its fields, ``{0}`` and
``{1}`` are the sizes and strides of the outer tensor.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence

from torchcrux.program.spec import Tensor, contiguous_strides

_UNFLATTEN = ".__tensor_unflatten__("
_DOTTED = re.compile(r"(?<![\w.\"'])[A-Za-z_][\w.]*")


def unflattened(cls: str, names: Sequence[str], state: str) -> str:
    """The call that every such class must have. `state` is what else it is made of, with braces
    doubled, or ``{0}`` where it holds the sizes."""
    inner = ", ".join(f'"{name}": {{{name}}}' for name in names)
    return f"{cls}{_UNFLATTEN}{{{{{inner}}}}}, {state}, {{0}}, {{1}})"


def constructors(spec: Tensor) -> Iterator[str]:
    """Calls of the class that may do the same, the plainest first; none if `spec` has one."""
    return constructors_of(spec.form, [name for name, _ in spec.parts])


def constructors_of(form: str, names: Sequence[str]) -> Iterator[str]:
    """The same, of a `form` around parts with these `names`."""
    cls, found, rest = form.partition(_UNFLATTEN)
    if not found:
        return
    inner = [f"{{{name}}}" for name in names]
    state = rest.partition("}}, ")[2].removesuffix(", {0}, {1})")
    given = [[], *_as_arguments(state)] if state != "None" else [[]]
    for more in dict.fromkeys(map(tuple, given)):
        yield f"{cls}({', '.join([*inner, *more])})"


def _as_arguments(state: str) -> Iterator[list[str]]:
    match ast.parse(state.replace("{{", "{").replace("}}", "}"), mode="eval").body:
        case ast.Tuple(elts=items) | ast.List(elts=items):
            yield [_escaped(item) for item in items]
        case ast.Dict(keys=keys, values=values):
            yield [_escaped(value) for value in values]
            if all(isinstance(key, ast.Constant) for key in keys):
                pairs = zip(keys, values, strict=True)
                yield [f"{key.value}={_escaped(value)}" for key, value in pairs]  # type: ignore[union-attr]
    yield [state]


def _escaped(value: ast.expr) -> str:
    text = ast.unparse(value)
    return text if text == "{0}" else text.replace("{", "{{").replace("}", "}}")


def named(form: str) -> list[str]:
    """The dotted names that a form uses."""
    return _DOTTED.findall(form)


def written(spec: Tensor, parts: Mapping[str, str]) -> str:
    """The text of a tensor around others, whose texts are `parts`."""
    strides = spec.strides or contiguous_strides(spec.shape)
    return spec.form.format(spec.shape, strides, **parts)
