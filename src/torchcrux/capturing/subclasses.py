"""Tensor subclasses with a layout of their own, that hold other tensors: what they are made of.

They are described and stored by way of these, and made again by `__tensor_unflatten__`, which
`torch.compile` asks of every such class.
"""

from __future__ import annotations

import ast
import enum
import math
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from typing import Any

import torch

from torchcrux.capturing import _torch
from torchcrux.capturing.backend import installed
from torchcrux.capturing.slicing import Slices
from torchcrux.program.wrapping import constructors_of, unflattened

_FILLING = frozenset({"update", "setdefault", "append", "add"})


@dataclass(frozen=True, slots=True)
class Wrapped:
    """`form` is as in `program.wrapping`; `classes` are those that it names."""

    form: str
    parts: Sequence[tuple[str, torch.Tensor]]
    classes: Sequence[type]


def wrapped(tensor: torch.Tensor) -> Wrapped | None:
    """What `tensor`, real or fake, is made of; None if it holds no other tensors.

    Raises LookupError, with what it is, if no text makes it again.
    """
    if tensor.is_nested or not _torch.is_wrapper(tensor):
        return None
    names, state = tensor.__tensor_flatten__()  # type: ignore[attr-defined]
    classes: dict[type, None] = {}
    try:
        cls = _class(type(tensor), classes)
        form = unflattened(cls, names, _text(state, tuple(tensor.shape), classes))
        parts = {name: getattr(tensor, name) for name in names}
        if not any(hasattr(part, "fake_mode") for part in innermost(tensor)):
            form = _faithful(form, tensor, parts, [*classes])
    except LookupError as reason:
        raise LookupError(f"a tensor of class {type(tensor).__name__}, {reason.args[0]}") from None
    return Wrapped(form, [*parts.items()], [*classes])


def _faithful(
    form: str, tensor: torch.Tensor, parts: Mapping[str, torch.Tensor], classes: Sequence[type]
) -> str:
    """`form`, or a call of the class if `__tensor_unflatten__` forgets something.

    Raises LookupError, with what it is, if that does as well.
    """
    known = {cls.__qualname__.partition(".")[0]: _outermost(cls) for cls in classes}
    sizes = tuple(tensor.shape), tuple(tensor.stride())
    for text in (form, *constructors_of(form, [*parts])):
        call = text.format(*map(repr, sizes), **{name: f"parts[{name!r}]" for name in parts})
        try:
            with torch.no_grad():
                made = eval(call, {**known, "torch": torch, "parts": parts})
        except Exception:
            continue  # a class need not take its parts in such a way
        if isinstance(made, torch.Tensor) and _is_like(made, tensor):
            return text
    raise LookupError("which neither its __tensor_unflatten__ nor its class makes again")


def _outermost(cls: type) -> Any:
    return getattr(sys.modules[cls.__module__], cls.__qualname__.partition(".")[0])


def stored_tensors(name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    """The tensors without parts that hold the values of `tensor`, by the names under which they
    are stored; see `program.spec.stored_under`."""
    try:
        found = wrapped(tensor)
    except LookupError:
        found = None
    if found is None:
        return {name: tensor}
    made: dict[str, torch.Tensor] = {}
    for attribute, part in found.parts:
        made |= stored_tensors(f"{name}.{attribute}", part)
    return made


def innermost(tensor: torch.Tensor) -> list[torch.Tensor]:
    """The tensors without parts that `tensor` is made of; itself if it has none."""
    if tensor.is_nested or not _torch.is_wrapper(tensor):
        return [tensor]
    names, _ = tensor.__tensor_flatten__()  # type: ignore[attr-defined]
    return [leaf for name in names for leaf in innermost(getattr(tensor, name))]


def rebuilt(
    tensor: torch.Tensor, change: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor | None:
    """`tensor` made anew around its changed parts, as a leaf; None if it has none."""
    if tensor.is_nested or not _torch.is_wrapper(tensor):
        return None
    names, state = tensor.__tensor_flatten__()  # type: ignore[attr-defined]
    with torch.no_grad():
        old = {name: getattr(tensor, name) for name in names}
        parts = {name: change(part) for name, part in old.items()}
        make = type(tensor).__tensor_unflatten__  # type: ignore[attr-defined]
        if _is_like(make(old, state, tensor.size(), tensor.stride()), tensor):
            made: torch.Tensor = make(parts, state, tensor.size(), tensor.stride())
        else:
            made = _torch.wrapper_like(tensor)
            vars(made).update({**vars(tensor), **parts})
    return made.requires_grad_(tensor.requires_grad)


def _is_like(made: torch.Tensor, tensor: torch.Tensor) -> bool:
    """Whether all but the tensors inside is as it was, as far as a text says it."""
    try:
        return type(made) is type(tensor) and _state(made) == _state(tensor)
    except LookupError:
        return True  # nothing can be said


def _state(tensor: torch.Tensor) -> str:
    return _text(tensor.__tensor_flatten__()[1], tuple(tensor.shape), {})  # type: ignore[attr-defined]


def definition(cls: type) -> str:
    """The text that defines `cls` in a script, with the functions that are registered for it.

    Raises LookupError, with what it is, if there is none.
    """
    what = f"a tensor of class {cls.__name__}"
    module = sys.modules[cls.__module__]
    top = cls.__qualname__.partition(".")[0]
    if installed(module):
        return f"from {module.__name__} import {top}\n"
    slices = Slices(installed)
    try:
        if not slices.need(module, top):
            raise LookupError(f"{what}, which no statement of its module defines")
        _take_registered(slices)
    except (OSError, SyntaxError) as error:
        raise LookupError(f"{what}, whose source is not to be had") from error
    if slices.clashes():
        raise LookupError(f"{what}, whose definition cannot be taken out of its module")
    return slices.text() + "\n"


def _take_registered(slices: Slices) -> None:
    """Add what is registered in what the slices hold: functions decorated by one that puts them
    there, and calls that do so. It may be in modules that nothing else leads to."""
    loaded = [one for one in [*sys.modules.values()] if isinstance(one, types.ModuleType)]
    own = [one for one in loaded if getattr(one, "__file__", None) and not installed(one)]
    before = -1
    while len(slices.names()) > before:
        known = slices.names()
        before = len(known)
        registering = {
            node.name
            for module in own
            for node in slices.statements(module)
            if isinstance(node, ast.FunctionDef) and _fills(node, known)
        }
        for module in own if registering else ():
            slices.take(module, partial(_is_registered, by=registering))


def _fills(function: ast.FunctionDef, known: set[str]) -> bool:
    """Whether it puts items into a variable that is `known`."""
    places: list[ast.expr] = []
    for node in ast.walk(function):
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
            places.append(node.value)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            places += [node.func.value] * (node.func.attr in _FILLING)
    return any(isinstance(place, ast.Name) and place.id in known for place in places)


def _is_registered(node: ast.stmt, by: set[str]) -> bool:
    called: list[ast.expr] = []
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        called = [*node.decorator_list]
    elif isinstance(node, ast.Expr):
        called = [node.value]
    for one in called:
        while isinstance(one, ast.Call):
            one = one.func
        if isinstance(one, ast.Name) and one.id in by:
            return True
    return False


def _class(cls: type, classes: dict[type, None]) -> str:
    found: Any = sys.modules.get(cls.__module__)
    for name in cls.__qualname__.split("."):
        found = getattr(found, name, None)
    if found is not cls:
        raise LookupError(
            "which is defined inside of a function: one at the top level of a module comes along"
        )
    classes[cls] = None
    return str(cls.__qualname__)


def _text(value: Any, shape: tuple[int, ...], classes: dict[type, None]) -> str:
    """`value` as a part of a format string."""
    if isinstance(value, (tuple, list)) and value and tuple(value) == shape:
        return "{0}"
    match value:
        case None | bool() | int() | str() if type(value) in (type(None), bool, int, str):
            return repr(value).replace("{", "{{").replace("}", "}}")
        case float():
            return repr(value) if math.isfinite(value) else f'float("{value}")'
        case torch.SymInt():
            return _text(int(getattr(value.node, "hint", None) or 1), shape, classes)
        case enum.Enum():
            return f"{_class(type(value), classes)}.{value.name}"
        case torch.dtype() | torch.layout() | torch.memory_format():
            return str(value)
        case torch.device():
            return f'torch.device("{value}")'
        case tuple() if type(value) in (tuple, torch.Size):
            return f"({''.join(_text(item, shape, classes) + ', ' for item in value)})"
        case list():
            return f"[{', '.join(_text(item, shape, classes) for item in value)}]"
        case dict():
            pairs = (
                f"{_text(key, shape, classes)}: {_text(one, shape, classes)}"
                for key, one in value.items()
            )
            return f"{{{{{', '.join(pairs)}}}}}"
    if is_dataclass(value) and not isinstance(value, type):
        given = (
            f"{field.name}={_text(getattr(value, field.name), shape, classes)}"
            for field in fields(value)
            if field.init
        )
        return f"{_class(type(value), classes)}({', '.join(given)})"
    raise LookupError(f"whose context holds an object of type {type(value).__name__}")
