"""What a statement does to objects that it does not bind: it fills a table, or calls a function
that does, as a decorator or in a loop."""

from __future__ import annotations

import ast
import builtins
import types
from collections.abc import Collection, Iterator
from typing import Any

from torchcrux.capturing.constants import is_plain

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_INNER = (*_DEFINITIONS, ast.Lambda)
_ADDING = ("add", "append", "extend", "insert", "register", "set", "update")
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


def filled_parameters(node: ast.FunctionDef) -> set[str]:
    """The parameters whose arguments a function fills, or some of these."""
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    given = {one.arg for one in [*arguments, *filter(None, [node.args.vararg])]}
    inside = [one for one in ast.walk(node) if isinstance(one, ast.stmt) and one is not node]
    filled = changed_inside(node).union(*map(handed, inside))
    for one in inside:
        if (
            isinstance(one, ast.For)
            and isinstance(one.target, ast.Name)
            and one.target.id in filled
        ):
            filled.update(part.id for part in ast.walk(one.iter) if isinstance(part, ast.Name))
    return given & filled


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
        calls = [one for one in calls if "register" in ast.unparse(one.func)]
    return {name for call in calls for name in _operands(call)}


def _operands(call: ast.Call) -> Iterator[str]:
    for one in [*call.args, *(keyword.value for keyword in call.keywords)]:
        for item in one.elts if isinstance(one, (ast.List, ast.Tuple)) else [one]:
            if isinstance(item, ast.Name):
                yield item.id
    if isinstance(call.func, ast.Call):
        yield from _operands(call.func)


def called(node: ast.stmt) -> set[str]:
    """Names of what is called when `node` is executed, with dots: of a definition, its
    decorators."""
    if isinstance(node, _DEFINITIONS):
        plain = {one.id for one in node.decorator_list if isinstance(one, ast.Name)}
        return plain.union(*map(_called, node.decorator_list))
    return _called(node)


def called_inside(node: ast.stmt) -> set[str]:
    """Names of what the functions that `node` defines call, with dots."""
    return {_dotted(one.func) for one in ast.walk(node) if isinstance(one, ast.Call)}


def given_to(node: ast.stmt, names: Collection[str]) -> set[str]:
    """What a statement passes to functions of these names."""
    calls = [one for one in _executed(node) if isinstance(one, ast.Call)]
    return {item for one in calls if _dotted(one.func) in names for item in _operands(one)}


def _called(node: ast.AST) -> set[str]:
    return {_dotted(inner.func) for inner in _executed(node) if isinstance(inner, ast.Call)}


def _dotted(node: ast.expr) -> str:
    """`a.b` of a name and its attributes; of anything else, nothing that is a name."""
    return ast.unparse(node) if isinstance(node, (ast.Name, ast.Attribute)) else ""


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
