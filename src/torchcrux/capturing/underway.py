"""What has been executed inside functions that have not returned yet, and under main guards.

The script is in the middle of a call of its compiled function. Whatever is on the stack has set up
what it uses: in `main`, a statement before the one that is being executed.
"""

from __future__ import annotations

import ast
import sys
import types
from collections.abc import Iterator, Sequence
from pathlib import Path

from torchcrux.capturing.statements import is_main_guard

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_SIMPLE = (ast.Expr, ast.Assign, ast.AugAssign, ast.For)


def executed(module: types.ModuleType, tree: ast.Module) -> list[tuple[ast.stmt, frozenset[str]]]:
    """In the order in which they stand, what was executed of `module`, each statement with the
    names that mean something else there than in their module."""
    file = getattr(module, "__file__", None) or ""
    found: list[tuple[ast.stmt, frozenset[str]]] = []
    for code, line in _callers():
        if _is_same(code.co_filename, file):
            local = frozenset([*code.co_varnames, *code.co_cellvars, *code.co_freevars])
            done = [node for node in _simple(_body(tree, code)) if _end(node) < line]
            found += [(node, local) for node in done]
    return sorted(found, key=lambda one: one[0].lineno)


def is_underway(function: types.FunctionType) -> bool:
    return any(code is function.__code__ for code, _ in _callers())


def _callers() -> list[tuple[types.CodeType, int]]:
    """What waits for the compiled function, and the line that each is at: not what belongs to the
    compiler, and a backend does."""
    found = []
    frame: types.FrameType | None = sys._getframe()
    while frame is not None:
        found.append((frame.f_code, frame.f_lineno))
        if frame.f_globals.get("__name__") == "torch._dynamo.eval_frame":
            found.clear()
        frame = frame.f_back
    return found


def _is_same(first: str, second: str) -> bool:
    return first == second or Path(first).absolute() == Path(second).absolute()


def _end(node: ast.stmt) -> int:
    return node.end_lineno or node.lineno


def _body(tree: ast.Module, code: types.CodeType) -> Sequence[ast.stmt]:
    if code.co_name == "<module>":
        return [inner for node in tree.body if is_main_guard(node) for inner in _inside(node)]
    for node in ast.walk(tree):
        if isinstance(node, _FUNCTIONS) and node.name == code.co_name:
            lines = [node.lineno, *(one.lineno for one in node.decorator_list)]
            if min(lines) == code.co_firstlineno:
                return node.body
    return ()


def _simple(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements of a body that bind nothing but what a loop goes by, in all its blocks."""
    for node in body:
        if isinstance(node, _SIMPLE):
            yield node
        elif isinstance(node, (ast.If, ast.With, ast.Try)):
            yield from _simple([*_inside(node)])


def _inside(node: ast.stmt) -> Iterator[ast.stmt]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt):
            yield child
