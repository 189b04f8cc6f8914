"""What has been executed inside functions that have not returned yet, and under main guards.

The script is in the middle of a call of its compiled function. Whatever is on the stack has set up
what it uses: in `main`, a statement before the one that is being executed. Its variables have the
values that they have now.
"""

from __future__ import annotations

import ast
import copy
import operator
import sys
import types
from collections import ChainMap
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torchcrux.capturing.constants import is_plain
from torchcrux.capturing.statements import bound, is_main_guard

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_SIMPLE = (ast.Expr, ast.Assign, ast.AugAssign, ast.For)
_COMPARED: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: lambda one, others: one in others,
    ast.NotIn: lambda one, others: one not in others,
}


def executed(module: types.ModuleType, tree: ast.Module) -> list[tuple[ast.stmt, frozenset[str]]]:
    """In the order in which they stand, what was executed of `module`, with plain values for
    variables that only exist there; each statement with the names that mean something else there
    than in their module."""
    file = getattr(module, "__file__", None) or ""
    found: list[tuple[ast.stmt, frozenset[str]]] = []
    written = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    for frame in _callers():
        code = frame.f_code
        if not _is_same(code.co_filename, file):
            continue
        if code.co_name == "<module>":
            guarded = [node for node in tree.body if is_main_guard(node)]
            body = [inner for node in guarded for inner in ast.iter_child_nodes(node)]
            top = {name for node in tree.body if node not in guarded for name in bound(node)}
            local = frozenset({name for node in guarded for name in bound(node)} - top)
        else:
            body = [*_body(tree, code)]
            local = frozenset([*code.co_varnames, *code.co_cellvars, *code.co_freevars])
        values = {name: frame.f_locals[name] for name in local if name in frame.f_locals}
        known = ChainMap(values, frame.f_globals)
        done = [node for node in _simple(body, known) if _end(node) < frame.f_lineno]
        found += [(_with_constants(node, values, written), local) for node in done]
    return sorted(found, key=lambda one: one[0].lineno)


def is_underway(function: types.FunctionType) -> bool:
    return any(frame.f_code is function.__code__ for frame in _callers())


def _callers() -> list[types.FrameType]:
    """What waits for the compiled function: not what belongs to the compiler, as a backend does."""
    found = []
    frame: types.FrameType | None = sys._getframe()
    while frame is not None:
        found.append(frame)
        if frame.f_globals.get("__name__") == "torch._dynamo.eval_frame":
            found.clear()
        frame = frame.f_back
    return found


def _is_same(first: str, second: str) -> bool:
    return first == second or Path(first).absolute() == Path(second).absolute()


def _end(node: ast.stmt) -> int:
    return node.end_lineno or node.lineno


def _body(tree: ast.Module, code: types.CodeType) -> Sequence[ast.stmt]:
    for node in ast.walk(tree):
        if isinstance(node, _FUNCTIONS) and node.name == code.co_name:
            lines = [node.lineno, *(one.lineno for one in node.decorator_list)]
            if min(lines) == code.co_firstlineno:
                return node.body
    return ()


def _simple(body: Sequence[ast.AST], known: Mapping[str, Any]) -> Iterator[ast.stmt]:
    """Statements of a body that bind nothing but what a loop goes by, in all its blocks; of a
    condition, those of the branch that was taken, or of the first where that cannot be told."""
    for node in body:
        if isinstance(node, _SIMPLE):
            yield node
        elif isinstance(node, ast.If):
            try:
                taken = _value_of(_with_constants(node.test, known))
            except (LookupError, TypeError):  # unknown, or its variables have changed since
                taken = True
            yield from _simple(node.body if taken else node.orelse, known)
        elif isinstance(node, (ast.With, ast.Try)):
            yield from _simple([*ast.iter_child_nodes(node)], known)


def _value_of(test: ast.expr) -> Any:
    """The value of a condition over constants. Raises LookupError if it is more than that."""
    match test:
        case ast.Constant(value=value):
            return value
        case ast.Tuple(elts=items) | ast.List(elts=items) | ast.Set(elts=items):
            return [_value_of(item) for item in items]
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _value_of(operand)
        case ast.BoolOp(op=ast.And(), values=values):
            return all(_value_of(value) for value in values)
        case ast.BoolOp(op=ast.Or(), values=values):
            return any(_value_of(value) for value in values)
        case ast.Compare(left=left, ops=[compared], comparators=[right]):
            return _COMPARED[type(compared)](_value_of(left), _value_of(right))
    raise LookupError


def _with_constants(
    node: Any, known: Mapping[str, Any], written: Collection[Any] | None = None
) -> Any:
    """A copy of a statement or an expression, with values for what of the `known` variables and
    their attributes is plain. Text that is not `written` in the module may be nobody's business."""
    free = {key: known[key] for key in known if key not in {*bound(node)}}
    changed = _Constants(free, written).visit(copy.deepcopy(node))
    return ast.fix_missing_locations(changed)


class _Constants(ast.NodeTransformer):
    def __init__(self, known: Mapping[str, Any], written: Collection[Any] | None) -> None:
        self._known = known
        self._written = written

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self._constant(node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        found = self._constant(node)
        return self.generic_visit(node) if found is node else found

    def _constant(self, node: ast.Name | ast.Attribute) -> ast.expr:
        try:
            value = self._value(node)
        except LookupError:
            return node
        secret = isinstance(value, (str, bytes)) and value not in (self._written or {value})
        if not isinstance(node.ctx, ast.Load) or secret or not is_plain(value):
            return node
        return ast.copy_location(ast.Constant(value), node)

    def _value(self, node: ast.expr) -> Any:
        """Raises LookupError if code would have to run for it."""
        if isinstance(node, ast.Name):
            return self._known[node.id]
        if isinstance(node, ast.Attribute):
            return getattr(self._value(node.value), "__dict__", {})[node.attr]
        raise LookupError
