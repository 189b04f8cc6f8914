"""The statements of a user's modules that register one operator, wherever they stand.

An operator of `torch.library.Library`, of the functions of `torch.library` or of an extension in
C++ is bound to no variable: what registers it is found by the strings that name it.
"""

from __future__ import annotations

import ast
import re
import types
from collections.abc import Iterator
from dataclasses import dataclass

import torch

_OF_A_LIBRARY = frozenset({"define", "impl", "_register_fake", "fallback"})
"""Methods of a `torch.library.Library`."""


@dataclass(frozen=True)
class Registration:
    """What registers ``space::name``."""

    space: str
    name: str

    def is_stated(self, node: ast.stmt, module: types.ModuleType) -> bool:
        """Whether `node`, a statement of `module`, registers it: as a call or a decorator, in a
        function that is called for that, or as text in C++."""
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            return self.is_named(node, module)
        if any(self.is_named(decorator, module) for decorator in node.decorator_list):
            return True
        compiles = any(
            isinstance(part, ast.Attribute) and part.attr == "compile" for part in ast.walk(node)
        )
        return self.is_named(node, module) and not compiles and _registers(node)

    def is_named(self, node: ast.AST, module: types.ModuleType) -> bool:
        """Whether a string in `node`, a part of `module`, names the operator."""
        texts = [text for text in _strings(node) if self.name in text]
        if not texts:
            return False
        full = re.compile(rf"{self.space}::{self.name}(?!\w)")
        if any(full.match(text) or self._is_cpp(text) for text in texts):
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

    def _is_cpp(self, text: str) -> bool:
        return re.search(rf"\bTORCH_LIBRARY\w*\(\s*{self.space}\b", text) is not None

    def _uses_library(self, node: ast.AST, module: types.ModuleType) -> bool:
        for part in ast.walk(node):
            if isinstance(part, ast.Name):
                value = getattr(module, part.id, None)
                if isinstance(value, torch.library.Library) and value.ns == self.space:
                    return True
        return self.space in _strings(node)  # the library is made inside of it


def _registers(node: ast.AST) -> bool:
    """Whether something in `node` looks like a registration, not only like a use."""
    return any(
        isinstance(part, ast.Attribute)
        and (part.attr in _OF_A_LIBRARY or part.attr in ("custom_op", "triton_op", "Library"))
        for part in ast.walk(node)
    )


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


def _strings(node: ast.AST) -> list[str]:
    return [*_constants(node)]


def _constants(node: ast.AST) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value
