"""What a statement does to objects that it does not bind: it fills a table, or calls a function
that does, as a decorator or in a loop."""

from __future__ import annotations

import ast
import builtins
import types
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

from torchcrux.capturing.constants import is_plain

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_INNER = (*_DEFINITIONS, ast.Lambda)
_ADDING = ("add", "append", "extend", "insert", "register", "set", "update")
Call: TypeAlias = tuple[str, frozenset[str]]
"""The name of a function, with dots, and the names that it is given."""

_COLLECTIONS = (tuple, list, dict, set, frozenset)


def changed(node: ast.stmt) -> Iterator[str]:
    """Names whose objects a statement changes: by an item, an attribute, a method, or by one that
    it is decorated with."""
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, (ast.AugAssign, ast.AnnAssign)):
        targets = [node.target]
    elif isinstance(node, ast.Delete):
        targets = node.targets
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        targets = [node.value.func]
    elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        calls = [d.func if isinstance(d, ast.Call) else d for d in node.decorator_list]
        targets = [target for target in calls if isinstance(target, ast.Attribute)]
    for target in targets:
        changes = False
        while isinstance(target, (ast.Attribute, ast.Subscript)):
            changes, target = True, target.value
        if changes and isinstance(target, ast.Name):
            yield target.id


def changed_inside(node: ast.stmt) -> set[str]:
    """Names whose objects the functions that `node` defines change, or that they bind anew."""
    found: set[str] = set()
    for definition in ast.walk(node):
        if isinstance(definition, _DEFINITIONS):
            for inner in ast.walk(definition):
                if isinstance(inner, ast.Global):
                    found.update(inner.names)
                elif isinstance(inner, ast.stmt) and inner is not definition:
                    found.update(changed(inner))
    return found


def fills(node: ast.stmt) -> set[str]:
    """As `changed`, in the statements of a loop or a branch as well, but not inside functions."""
    return {
        name for inner in _executed(node) if isinstance(inner, ast.stmt) for name in changed(inner)
    }


def adds(node: ast.stmt) -> set[str]:
    """Names of objects of which a statement calls a method that is called like one that adds."""
    calls = [one.func for one in _executed(node) if isinstance(one, ast.Call)]
    methods = [one for one in calls if isinstance(one, ast.Attribute)]
    named = [one for one in methods if one.attr.startswith(_ADDING)]
    return {one.value.id for one in named if isinstance(one.value, ast.Name)}


def handed(node: ast.stmt) -> set[str]:
    """Names of what a statement hands to a function that registers something there: to one that it
    is decorated with, or to one that is called so."""
    if isinstance(node, _DEFINITIONS):
        calls = [one for one in node.decorator_list if isinstance(one, ast.Call)]
    else:
        statements = [one for one in _executed(node) if isinstance(one, ast.Expr)]
        calls = [one.value for one in statements if isinstance(one.value, ast.Call)]
        calls = [one for one in calls if any(map(_is_registering, ast.walk(one.func)))]
    return {name for call in calls for name in _operands(call)}


def _operands(call: ast.Call) -> Iterator[str]:
    for one in [*call.args, *(keyword.value for keyword in call.keywords)]:
        for item in one.elts if isinstance(one, (ast.List, ast.Tuple)) else [one]:
            if isinstance(item, ast.Name):
                yield item.id
    if isinstance(call.func, ast.Call):
        yield from _operands(call.func)


def handed_inside(node: ast.stmt) -> set[str]:
    """Names of what the functions that `node` defines hand over as in `handed`."""
    inside = [one for one in ast.walk(node) if isinstance(one, ast.stmt) and one is not node]
    return {name for one in inside for name in handed(one)}


def filled_parameters(node: ast.FunctionDef) -> set[str]:
    """The parameters whose arguments a function fills, or some of these."""
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    given = {one.arg for one in [*arguments, *filter(None, [node.args.vararg])]}
    filled = changed_inside(node) | handed_inside(node)
    for one in ast.walk(node):
        if isinstance(one, ast.For) and not filled.isdisjoint(_names(one.target)):
            filled |= _names(one.iter)
    return given & filled


def calls(node: ast.stmt) -> list[Call]:
    """What is called when `node` is executed: of a definition, its decorators."""
    if not isinstance(node, _DEFINITIONS):
        return [*_calls(_executed(node))]
    plain = [(one.id, frozenset[str]()) for one in node.decorator_list if isinstance(one, ast.Name)]
    return [*plain, *(call for one in node.decorator_list for call in _calls(_executed(one)))]


def calls_inside(node: ast.stmt) -> list[Call]:
    """As `calls`, in whatever `node` defines as well."""
    return [*_calls(ast.walk(node))]


def _calls(parts: Iterable[ast.AST]) -> Iterator[Call]:
    for one in parts:
        if isinstance(one, ast.Call):
            yield _dotted(one.func), frozenset(_operands(one))


def _names(node: ast.AST) -> set[str]:
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}


def _is_registering(node: ast.AST) -> bool:
    return "register" in (node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", ""))


def _dotted(node: ast.expr) -> str:
    """`a.b` of a name and its attributes; of anything else, nothing that is a name."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=attr):
            return f"{_dotted(value)}.{attr}"
    return ""


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, _INNER) and not isinstance(node, _INNER):
            yield from _executed(child)


def only_prepares(node: ast.stmt, used: frozenset[str], module: types.ModuleType, own: Any) -> bool:
    """Whether a statement of `module`, which uses these names, has to do with definitions and
    tables of them alone, and not with a model, its data or anything compiled. `own` is the object
    that it fills."""
    if isinstance(node, _DEFINITIONS):
        return True
    known = {**vars(builtins), **vars(module)}
    return all(
        name not in known or known[name] is own or is_definition(known[name]) for name in used
    )


def is_definition(value: Any) -> bool:
    """Whether it is a definition, plain data, or what torch has only one of."""
    if hasattr(value, "_torchdynamo_orig_callable"):
        return False
    named = isinstance(
        value, (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType)
    )
    of_torch = type(value).__module__ in ("torch", "torch._ops")  # dtypes, operators
    data = isinstance(value, _COLLECTIONS) or is_plain(value)
    return named or (of_torch and not hasattr(value, "grad_fn")) or data
