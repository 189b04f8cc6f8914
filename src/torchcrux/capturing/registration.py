"""The statements of a user's modules that register one operator, wherever they stand.

An operator of `torch.library.Library`, of the functions of `torch.library` or of an extension in
C++ is bound to no variable: what registers it is found by the strings that name it.
"""

from __future__ import annotations

import ast
import re
import types
from collections.abc import Container, Iterator
from dataclasses import dataclass

import torch

_OF_A_LIBRARY = frozenset({"define", "impl", "_register_fake", "fallback"})
"""Methods of a `torch.library.Library`."""

_REGISTERING = _OF_A_LIBRARY | {"Library", "custom_op", "triton_op", "impl_abstract"}

_BLOCKS = (ast.For, ast.If, ast.With, ast.Try, ast.FunctionDef)


@dataclass(frozen=True)
class Registration:
    """What registers ``space::name``."""

    space: str
    name: str

    def is_stated(self, node: ast.stmt, module: types.ModuleType, called: Container[str]) -> bool:
        """Whether `node`, a statement of `module`, registers it: as a call or a decorator, in a
        function that is `called` for that, or as text in C++."""
        parts: list[ast.AST] = [node]
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            parts = [*node.decorator_list]
            compiles = any(_name(part) == "compile" for part in ast.walk(node))
            if node.name in called and not compiles:
                parts.append(node)
        return any(
            self.is_named(part, module) and (_registers(part) or self._is_in_cpp(part))
            for part in parts
        )

    def may_be_made(self, node: ast.stmt, texts: Container[str]) -> bool:
        """Whether `node` registers operators by names that it makes up of the `texts` of its
        module, as in a loop over a table."""
        written = self.name in texts and (self.space in texts or f"{self.space}::" in texts)
        return written and isinstance(node, _BLOCKS) and _registers(node)

    def is_ruled(self, node: ast.stmt) -> bool:
        """Whether `node` says what a compiler makes of it: a decorator or a call that registers
        something for ``torch.ops.space.name``, or an entry of a table."""
        parts: list[ast.AST] = [node]
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            parts = [*node.decorator_list]
        elif isinstance(node, ast.Assign):
            return any(isinstance(t, ast.Subscript) and self._is_meant(t) for t in node.targets)
        return any(_registers(part) and self._is_meant(part) for part in parts)

    def _is_meant(self, node: ast.AST) -> bool:
        """Whether an attribute in `node` is the operator or one of its overloads."""
        meant = f"ops.{self.space}.{self.name}"
        return any(
            isinstance(part, ast.Attribute) and ast.unparse(part).endswith(meant)
            for part in ast.walk(node)
        )

    def is_named(self, node: ast.AST, module: types.ModuleType) -> bool:
        """Whether a string in `node`, a part of `module`, names the operator."""
        texts = [text for text in strings(node) if self.name in text]
        if not texts:
            return False
        full = re.compile(rf"{self.space}::{self.name}(?!\w)")
        if any(map(full.match, texts)) or self._is_in_cpp(node):
            return True
        short = re.compile(rf"{self.name}(?!\w)")
        return any(map(short.match, texts)) and self._uses_library(node, module)

    def is_of_another(self, node: ast.AST, module: types.ModuleType) -> bool:
        """Whether `node` calls a method of a library, but not for this operator."""
        if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Call):
            return False
        method = node.value.func
        known = isinstance(method, ast.Attribute) and method.attr in _OF_A_LIBRARY
        return known and not self.is_named(node, module)

    def _is_in_cpp(self, node: ast.AST) -> bool:
        macro = re.compile(rf"\bTORCH_LIBRARY\w*\(\s*{self.space}\b")
        return any(self.name in text and macro.search(text) for text in strings(node))

    def _uses_library(self, node: ast.AST, module: types.ModuleType) -> bool:
        for part in ast.walk(node):
            if isinstance(part, ast.Name):
                value = getattr(module, part.id, None)
                if isinstance(value, torch.library.Library) and value.ns == self.space:
                    return True
        return self.space in strings(node)  # the library is made inside of it


def _registers(node: ast.AST) -> bool:
    """Whether something in `node` looks like a registration, not only like a use."""
    names = {_name(part) for part in ast.walk(node)}
    return not _REGISTERING.isdisjoint(names) or any(n.startswith("register_") for n in names)


def _name(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def loads_a_library(node: ast.AST) -> bool:
    """Whether `node` loads a shared library whose operators nobody can tell."""
    return any(
        isinstance(part, ast.Attribute) and part.attr == "load_library" for part in ast.walk(node)
    )


def calls_of(node: ast.stmt, names: frozenset[str]) -> bool:
    """Whether `node` is nothing but a call that uses one of `names`."""
    value = getattr(node, "value", None)
    return (
        isinstance(node, (ast.Expr, ast.Assign))
        and isinstance(value, ast.Call)
        and any(isinstance(part, ast.Name) and part.id in names for part in ast.walk(value))
    )


def strings(node: ast.AST) -> list[str]:
    return [*_constants(node)]


def _constants(node: ast.AST) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value
