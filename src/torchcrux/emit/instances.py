"""Objects that a source makes from their state, attribute by attribute, and how their class would
make them; and what ``aot_autograd`` makes, with fewer arguments."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torchcrux.emit.calls import quoted
from torchcrux.emit.layout import folded

_DEFINITIONS = (ast.FunctionDef, ast.ClassDef)


@dataclass(frozen=True, slots=True)
class _Instance:
    """The statements that make the object and give it its state, and the state."""

    name: str
    cls: str
    made: ast.stmt
    filled: ast.stmt
    state: Mapping[str, ast.expr]


def from_state(source: str) -> list[str]:
    """The variables of objects that are made from their state."""
    return [one.name for one in _instances(ast.parse(source))]


def constructed(source: str, name: str, *, plain: bool) -> str | None:
    """`source` with the object `name` made by a call of its class, and without what only its state
    needed. The call has as arguments the attributes that are called like them; if `plain`, none
    that has a default.

    None where there is no such object, or nothing for an argument that it must have.
    """
    tree = ast.parse(source)
    found = next((one for one in _instances(tree) if one.name == name), None)
    if found is None:
        return None
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    arguments = _arguments(found, classes, plain=plain)
    if arguments is None:
        return None
    call = f"{name} = {found.cls}({', '.join(arguments)})"
    lines: list[str | None] = [*source.splitlines()]
    _replace(lines, found.made, None)
    _replace(lines, found.filled, "\n".join(folded([call])))
    return _without(_text(lines), _names(found.filled) - {name, found.cls})


def aot_arguments(source: str) -> list[tuple[str, str]]:
    """The variables that hold what ``aot_autograd`` makes, each with the name of an argument that
    it could do without."""
    return [
        (name, argument.arg)
        for name, call in _aot_backends(ast.parse(source))
        for argument in call.keywords
        if argument.arg not in (None, "fw_compiler")
    ]


def without_aot_argument(source: str, name: str, argument: str) -> str:
    """`source` with the call of ``aot_autograd`` that `name` holds without `argument`, and without
    what only that needed."""
    for found, call in _aot_backends(ast.parse(source)):
        dropped = [one for one in call.keywords if one.arg == argument]
        if found != name or not dropped:
            continue
        kept = [one for one in call.keywords if one.arg != argument]
        texts = [f"{one.arg}={_written(one.value)}" for one in kept]
        lines: list[str | None] = [*source.splitlines()]
        line = f"{name} = {ast.unparse(call.func)}({', '.join(texts)})"
        _replace(lines, call, "\n".join(folded([line])))
        return _without(_text(lines), _names(dropped[0]))
    return source


def _aot_backends(tree: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    for node in tree.body:
        match node:
            case ast.Assign(
                targets=[ast.Name(id=name)],
                value=ast.Call(func=ast.Name(id="aot_autograd")) as call,
            ):
                if not call.args and all(one.arg for one in call.keywords):
                    yield name, call


def _without(text: str, unused: set[str]) -> str:
    """`text` without the statements that bind one of `unused`, where nothing uses that any more,
    nor what only they used."""
    while True:
        tree = ast.parse(text)
        dropped = [one for one in tree.body if _binds(one) & unused and not _is_used(one, tree)]
        if not dropped:
            return text
        lines: list[str | None] = [*text.splitlines()]
        for statement in dropped:
            _replace(lines, statement, None)
            unused |= _names(statement)
        text = _text(lines)


def _instances(tree: ast.Module) -> Iterator[_Instance]:
    made: dict[str, tuple[str, ast.stmt]] = {}
    for node in tree.body:
        match node:
            case ast.Assign(
                targets=[ast.Name(id=name)],
                value=ast.Call(func=ast.Attribute(value=ast.Name(id=cls), attr="__new__")),
            ) if ast.unparse(node) == f"{name} = {cls}.__new__({cls})":
                made[name] = (cls, node)
            case ast.Expr(value=ast.Call(args=[ast.Dict(keys=keys, values=values)])):
                name = _filled(node)
                if name in made and all(isinstance(key, ast.Constant) for key in keys):
                    names = [str(key.value) for key in keys if isinstance(key, ast.Constant)]
                    cls, first = made.pop(name)
                    yield _Instance(name, cls, first, node, dict(zip(names, values, strict=True)))


def _arguments(
    found: _Instance, classes: Mapping[str, ast.ClassDef], *, plain: bool
) -> list[str] | None:
    parameters = _parameters(found.cls, classes)
    if parameters is None:
        return None
    arguments = []
    for name, default in parameters.items():
        if plain and default is not None:
            continue
        value = found.state.get(name, found.state.get(f"_{name}"))
        if value is not None and found.name in _names(value):
            value = None  # it cannot be passed to what makes it
        if value is None and default is None:
            return None
        if value is not None and (default is None or ast.dump(value) != ast.dump(default)):
            arguments.append(f"{name}={_written(value)}")
    return arguments


def _parameters(cls: str, classes: Mapping[str, ast.ClassDef]) -> dict[str, ast.expr | None] | None:
    """The parameters of a constructor with their defaults, None for none; None for a constructor
    that is not to be seen."""
    node = classes.get(cls)
    if node is None:
        return None
    for one in node.body:
        if isinstance(one, ast.FunctionDef) and one.name == "__init__":
            return _of_function(one.args)
    if any("dataclass" in _names(one) for one in node.decorator_list):
        fields = [one for one in node.body if isinstance(one, ast.AnnAssign)]
        return {one.target.id: one.value for one in fields if isinstance(one.target, ast.Name)}
    bases = [base.id for base in node.bases if isinstance(base, ast.Name) and base.id in classes]
    return _parameters(bases[0], classes) if bases else {}


def _of_function(args: ast.arguments) -> dict[str, ast.expr | None]:
    positional = [*args.posonlyargs, *args.args]
    if not positional:  # all in one
        return {}
    defaults = [None] * (len(positional) - len(args.defaults)) + [*args.defaults]
    found = {one.arg: default for one, default in zip(positional, defaults, strict=True)}
    found |= {
        one.arg: default for one, default in zip(args.kwonlyargs, args.kw_defaults, strict=True)
    }
    del found[positional[0].arg]
    return found


def _written(value: ast.expr) -> str:
    """Its text, with the quotes that `ruff format` has."""
    text = ast.unparse(value)
    strings = [
        token
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.STRING and token.string.startswith("'")
    ]
    for token in reversed(strings):
        (_, first), (_, last) = token.start, token.end
        text = text[:first] + quoted(ast.literal_eval(token.string)) + text[last:]
    return text


def _replace(lines: list[str | None], node: ast.stmt | ast.Call, text: str | None) -> None:
    """Put `text` where the lines of a statement stand; lines that are None go at the end."""
    first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", []))])
    assert node.end_lineno is not None
    lines[first - 1 : node.end_lineno] = [text] + [None] * (node.end_lineno - first)


def _text(lines: list[str | None]) -> str:
    text = "\n".join(line for line in lines if line is not None)
    while "\n\n\n\n" in text:
        text = text.replace("\n\n\n\n", "\n\n\n")
    return text.strip("\n") + "\n"


def _names(node: ast.AST) -> set[str]:
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}


def _binds(node: ast.stmt) -> set[str]:
    if isinstance(node, _DEFINITIONS):
        return {node.name}
    if isinstance(node, ast.Assign):
        return {one.id for one in node.targets if isinstance(one, ast.Name)}
    return {_filled(node)} - {""}


def _filled(node: ast.stmt) -> str:
    """The variable of the object to which a statement gives its state; empty if it is another."""
    match node:
        case ast.Expr(
            value=ast.Call(
                func=ast.Attribute(
                    value=ast.Call(func=ast.Name(id="vars"), args=[ast.Name(id=name)]),
                    attr="update",
                )
            )
        ):
            return name
    return ""


def _is_used(statement: ast.stmt, tree: ast.Module) -> bool:
    """Whether anything but what makes it uses what the statement binds, or a decorator may."""
    if isinstance(statement, ast.FunctionDef) and statement.decorator_list:
        return True
    bound = _binds(statement)
    others = [one for one in tree.body if not _binds(one) & bound]
    return any(_names(one) & bound for one in others)
