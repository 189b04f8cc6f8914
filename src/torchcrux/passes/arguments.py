"""Arguments that a call does without: left out, None, one number for a tuple of equal ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torchcrux.emit.calls import argument
from torchcrux.passes.base import Draft, Edit
from torchcrux.passes.trying import TriedFirst
from torchcrux.program.ir import Arg, Body, Node, Op, Ref, Slice
from torchcrux.program.literals import (
    Path,
    Place,
    at,
    literals,
    tidied,
    with_argument,
    without_argument,
)


@dataclass(frozen=True, slots=True)
class DropArgument:
    """Leave out a keyword or the positional arguments from a place on."""

    place: Place
    words: str

    def apply(self, draft: Draft) -> Draft:
        node = draft.program.by_name.get(self.place.node)
        if node is None:
            return draft
        kind, which = self.place.path
        if kind == "args":
            changed = replace(node, args=node.args[: int(which)])
        else:
            changed = without_argument(node, self.place.path)
        return replace(draft, program=tidied(draft.program.replace_nodes({node.name: changed})))

    def __str__(self) -> str:
        return self.words


@dataclass(frozen=True)
class SetArgument:
    """Give an argument another value, where it has still the one it had."""

    place: Place
    old: Arg
    new: Arg
    words: str

    def apply(self, draft: Draft) -> Draft:
        node = draft.program.by_name.get(self.place.node)
        if node is None:
            return draft
        try:
            if at(node, self.place.path) != self.old:
                return draft
        except LookupError:
            return draft
        changed = with_argument(node, self.place.path, self.new)
        return replace(draft, program=tidied(draft.program.replace_nodes({node.name: changed})))

    def __str__(self) -> str:
        return self.words


@dataclass(frozen=True, slots=True)
class DropOne:
    """Leave out one positional argument, of the value `old`, and keep those behind it."""

    place: Place
    old: Arg
    words: str

    def apply(self, draft: Draft) -> Draft:
        node = draft.program.by_name.get(self.place.node)
        if node is None:
            return draft
        try:
            if at(node, self.place.path) != self.old:
                return draft
        except LookupError:
            return draft
        changed = without_argument(node, self.place.path)
        return replace(draft, program=draft.program.replace_nodes({node.name: changed}))

    def __str__(self) -> str:
        return self.words


class Arguments(TriedFirst):
    """Arguments that have a default, or may be None."""

    name = "arguments"
    summary = "drop arguments; None for an optional tensor"
    example = "F.layer_norm(x, (32,), w, b, 1e-05)  ->  F.layer_norm(x, (32,))"

    def edits(self, draft: Draft) -> Iterator[Edit]:
        for node in draft.program.calls:
            if node.target.startswith("operator.") or _takes_functions(node):
                continue
            for i in range(len(node.args) - 1, 0, -1):
                text = ", ".join(_text(arg) for arg in node.args[i:])
                yield DropArgument(Place(node.name, ("args", i)), f"{_call(node)} without {text}")
            for key, value in node.kwargs:
                text = f"{key}={_text(value)}"
                place = Place(node.name, ("kwargs", key))
                yield DropArgument(place, f"{_call(node)} without {text}")
            for path, value in _own(node):
                if isinstance(value, (tuple, list)) and len(value) > 1:
                    yield from _shorter(node, path, value)
                elif value == 1 and not isinstance(value, bool) and path[0] == "args":
                    words = f"{_call(node)} without argument {path[1]}"
                    yield DropOne(Place(node.name, path), 1, words)
                last = path[0] == "kwargs" or path[1] == len(node.args) - 1
                if isinstance(value, Ref) and not last:
                    words = f"{_call(node)} with None for {value.name}"
                    yield SetArgument(Place(node.name, path), value, None, words)


class PlainArguments(TriedFirst):
    """``2`` for ``(2, 2)``; ``[:n]`` for ``[0:n, :]``."""

    name = "plain-arguments"
    summary = "one number for a tuple of equal ones; slices without what they do not need"
    example = "F.max_pool2d(x, (2, 2))  ->  F.max_pool2d(x, 2)"

    def edits(self, draft: Draft) -> Iterator[Edit]:
        for node in draft.program.calls:
            yield from _shorter_slices(node)
            if node.target.startswith("operator.") or _takes_functions(node):
                continue
            for path, value in _own(node):
                if isinstance(value, (tuple, list)) and value and all(x == value[0] for x in value):
                    first = value[0]
                    if isinstance(first, int) and not isinstance(first, bool):
                        words = f"{_call(node)} with {first} for {_text(value)}"
                        yield SetArgument(Place(node.name, path), value, first, words)


class Numbers(TriedFirst):
    """Numbers in calls: `integer` for larger integers, `real` for other real numbers."""

    summary = "numbers in calls become 0, 1 or 2"
    example = "torch.topk(x, 5)  ->  torch.topk(x, 1)"

    def __init__(self, integer: int, real: float | None = None) -> None:
        self.integer, self.real = integer, real
        self.name = f"numbers-{integer}"

    def edits(self, draft: Draft) -> Iterator[Edit]:
        for node in draft.program.calls:
            if node.target == "operator.getitem" and isinstance(node.args[1], int):
                continue  # an item of a tuple is another value, not a simpler one
            for path, value in literals(node):
                new = self._simpler(value)
                if new is not None:
                    words = f"{_call(node)} with {_text(new)} for {_named(path)}{_text(value)}"
                    yield SetArgument(Place(node.name, path), value, new, words)

    def _simpler(self, value: Arg) -> Arg:
        if isinstance(value, bool):
            return None
        if isinstance(value, int):
            return self.integer if value > self.integer or value < -1 else None
        if isinstance(value, float) and self.real is not None and value != self.real:
            return self.real if len(repr(value)) > len("0.5") else None
        return None


def _own(node: Node) -> Iterator[tuple[Path, Arg]]:
    """The arguments themselves, not what is inside them; the first is what the call is about."""
    for path, value in literals(node):
        first = path == ("args", 0)
        if len(path) == 2 and not (first and node.op is Op.METHOD):
            yield path, value


def _shorter(node: Node, path: Path, value: tuple[Arg, ...] | list[Arg]) -> Iterator[SetArgument]:
    """Without one of several ones in a tuple of sizes."""
    for i, item in enumerate(value):
        if item == 1 and not isinstance(item, bool):
            left = [one for place, one in enumerate(value) if place != i]
            new: Arg = left if isinstance(value, list) else tuple(left)
            words = f"{_call(node)} with {_text(new)} for {_text(value)}"
            yield SetArgument(Place(node.name, path), value, new, words)
            return


def _shorter_slices(node: Node) -> Iterator[SetArgument]:
    """Without a start of 0; without a last one that takes all."""
    for path, value in literals(node):
        if len(path) > 2 and path[-1] == "start" and value == 0:
            words = f"{_call(node)} with a slice that has no start"
            yield SetArgument(Place(node.name, path), value, None, words)
    if node.target not in ("operator.getitem", "operator.setitem"):
        return
    index = node.args[1]
    if isinstance(index, tuple) and len(index) > 1 and index[-1] == Slice(None, None, None):
        new = index[0] if len(index) == 2 else index[:-1]
        words = f"{_call(node)} with {_text(new)} for {_text(index)}"
        yield SetArgument(Place(node.name, ("args", 1)), index, new, words)


def _takes_functions(node: Node) -> bool:
    """A call whose arguments are what its bodies take: they go together or not at all."""
    return any(isinstance(arg, Body) for arg in node.args)


def _call(node: Node) -> str:
    return node.target.rpartition(".")[2]


def _named(path: Path) -> str:
    return f"{path[1]}=" if path[0] == "kwargs" and len(path) == 2 else ""


def _text(arg: Arg) -> str:
    """The argument as in a script, with the values of the program by their own names."""
    names = _Names()
    return "a function" if isinstance(arg, Body) else argument(arg, names)


class _Names(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return name
