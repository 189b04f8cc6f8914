"""The constants in the calls of a program: where they stand, and other values for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from torchcrux.program.ir import Arg, Node, Op, Program, Ref, Slice

Step: TypeAlias = int | str
Path: TypeAlias = tuple[Step, ...]

_SLICE = ("start", "stop", "step")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a constant stands: ``("args", 1, 0)`` or ``("kwargs", "dim")`` of a call,
    ``("shape", 0)`` of a tensor input, ``("value",)`` of a number input."""

    node: str
    path: Path


def literals(node: Node) -> Iterator[tuple[Path, Arg]]:
    """The arguments of a call, and what is inside their tuples, lists, dicts and slices, outermost
    first."""
    for i, arg in enumerate(node.args):
        yield from _inside(("args", i), arg)
    for key, arg in node.kwargs:
        yield from _inside(("kwargs", key), arg)


def _inside(path: Path, arg: Arg) -> Iterator[tuple[Path, Arg]]:
    yield path, arg
    if isinstance(arg, (tuple, list)):
        for i, item in enumerate(arg):
            yield from _inside((*path, i), item)
    elif isinstance(arg, dict):
        for key, item in arg.items():
            yield from _inside((*path, key), item)
    elif isinstance(arg, Slice):
        for part in _SLICE:
            yield from _inside((*path, part), getattr(arg, part))


def at(node: Node, path: Path) -> Arg:
    """The argument at `path`. Raises LookupError if there is none."""
    found: Any = node.args if path[0] == "args" else dict(node.kwargs)
    for step in path[1:]:
        if isinstance(found, Slice):
            found = getattr(found, str(step))
        elif isinstance(found, (tuple, list, dict)):
            found = found[step]  # type: ignore[index]
        else:
            raise LookupError(f"{node.name} has nothing at {path}")
    return found  # type: ignore[no-any-return]


def with_argument(node: Node, path: Path, value: Arg) -> Node:
    """The call with `value` at `path`, which exists."""
    kind, first, *rest = path
    if kind == "args":
        args = list(node.args)
        args[int(first)] = _set(args[int(first)], tuple(rest), value)
        return replace(node, args=tuple(args))
    kwargs = tuple(
        (key, _set(arg, tuple(rest), value) if key == first else arg) for key, arg in node.kwargs
    )
    return replace(node, kwargs=kwargs)


def _set(arg: Arg, path: Path, value: Arg) -> Arg:
    if not path:
        return value
    step, *rest = path
    if isinstance(arg, (tuple, list)):
        items = list(arg)
        items[int(step)] = _set(items[int(step)], tuple(rest), value)
        return items if isinstance(arg, list) else tuple(items)
    if isinstance(arg, dict):
        return {**arg, str(step): _set(arg[str(step)], tuple(rest), value)}
    if isinstance(arg, Slice):
        changed: Any = {str(step): _set(getattr(arg, str(step)), tuple(rest), value)}
        return replace(arg, **changed)
    raise LookupError(f"nothing at {path}")


def without_argument(node: Node, path: Path) -> Node:
    """The call without the argument at `path`: a keyword, the last positional one, or an item of
    a tuple or list."""
    if len(path) == 2 and path[0] == "args":
        place = int(path[1])
        return replace(node, args=node.args[:place] + node.args[place + 1 :])
    if len(path) == 2:
        return replace(node, kwargs=tuple(pair for pair in node.kwargs if pair[0] != path[1]))
    items = at(node, path[:-1])
    if not isinstance(items, (tuple, list)):
        raise LookupError(f"nothing to leave out at {path}")
    left = [item for i, item in enumerate(items) if i != path[-1]]
    return with_argument(node, path[:-1], left if isinstance(items, list) else tuple(left))


def mapped(arg: Arg, change: Callable[[Arg], Arg]) -> Arg:
    """`arg` with `change` applied to it or, where it is a container, to what is inside."""
    if isinstance(arg, tuple):
        return tuple(mapped(item, change) for item in arg)
    if isinstance(arg, list):
        return [mapped(item, change) for item in arg]
    if isinstance(arg, dict):
        return {key: mapped(item, change) for key, item in arg.items()}
    if isinstance(arg, Slice):
        return Slice(*(mapped(getattr(arg, part), change) for part in _SLICE))
    return change(arg)


def with_mapped(node: Node, change: Callable[[Arg], Arg]) -> Node:
    return replace(
        node,
        args=tuple(mapped(arg, change) for arg in node.args),
        kwargs=tuple((key, mapped(arg, change)) for key, arg in node.kwargs),
    )


def substituted(program: Program, by: Mapping[str, str]) -> Program:
    """The program with references, and outputs, renamed; the nodes themselves stay."""

    def change(arg: Arg) -> Arg:
        return Ref(by[arg.name]) if isinstance(arg, Ref) and arg.name in by else arg

    nodes = tuple(
        node
        if node.op is Op.INPUT or not any(name in by for name in node.references())
        else with_mapped(node, change)
        for node in program.nodes
    )
    outputs = tuple(dict.fromkeys(by.get(name, name) for name in program.outputs))
    return Program(nodes, outputs)


def tidied(program: Program) -> Program:
    """Without the inputs that nothing uses, in the order of first use."""
    used = dict.fromkeys(name for node in program.calls for name in node.references())
    used.update(dict.fromkeys(program.outputs))
    inputs = {node.name: node for node in program.inputs}
    kept = tuple(inputs[name] for name in used if name in inputs)
    return Program((*kept, *program.calls), program.outputs)
