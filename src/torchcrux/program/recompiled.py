"""The same graph, compiled for other sizes before: what a backend remembers may be of those.

Where all sizes are plain numbers, those that differ become symbols, and numbers that follow them in
calls become inputs: then a script can call what it compiles with either.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Many
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TypeGuard

from torchcrux.program.earlier import Sizes, symbols_of
from torchcrux.program.ir import Arg, Node, Op, Program, Ref
from torchcrux.program.literals import at, literals, with_argument, with_mapped
from torchcrux.program.spec import Number, Sequence, Spec, Tensor


@dataclass
class Before:
    """The graphs that were compiled so far, by the names of their inputs: graphs of the same code
    mostly have the same. What a cache keeps is the first of them; and the latest counts."""

    programs: dict[tuple[str, ...], list[Program]] = field(default_factory=dict)

    def resized(self, program: Program, *, static: bool) -> tuple[Program, tuple[Sizes, ...]]:
        """As the function of this name, for a program that is compiled now."""
        names = tuple(node.name for node in program.inputs if isinstance(node.spec, Tensor))
        before = self.programs.setdefault(names, [])
        found = resized(program, before, static=static)
        before[1:] = [program]
        return found


def resized(
    program: Program, before: Many[Program], *, static: bool
) -> tuple[Program, tuple[Sizes, ...]]:
    """The program, and what each symbol for a size stood for in those `before`, where that was
    something else. The symbols of a `static` program are made here."""
    known = symbols_of(program)
    if known:
        shown = [_shown(program, other, known) for other in before]
        return program, _others(tuple(known.items()), shown)
    alike = [other for other in before if static and _is_alike(program, other)]
    if not alike:
        return program, ()
    symbols = _Symbols({node.name for node in program.nodes})
    columns = zip(program.nodes, *(other.nodes for other in alike), strict=True)
    nodes = [symbols.in_node(node, others) for node, *others in columns]
    if not symbols.names:
        return program, ()
    own, *shown = (
        tuple(zip(symbols.names.values(), sizes, strict=True))
        for sizes in zip(*symbols.names, strict=True)
    )
    used = {name for node in nodes for name in node.references()}
    numbers = [Node(n, Op.INPUT, spec=Number(size, n)) for n, size in own if n in used]
    inputs = [node for node in nodes if node.op is Op.INPUT]
    return Program((*inputs, *numbers, *nodes[len(inputs) :]), program.outputs), _others(own, shown)


def fixed(program: Program) -> Program:
    """The program with plain numbers for its symbols."""
    if not symbols_of(program):
        return program
    numbers = {
        node.name: node.spec.value
        for node in program.inputs
        if isinstance(node.spec, Number) and node.spec.symbol
    }

    def number(arg: Arg) -> Arg:
        return numbers.get(arg.name, arg) if isinstance(arg, Ref) else arg

    return Program(
        tuple(
            replace(with_mapped(node, number), spec=_without_symbols(node.spec))
            for node in program.nodes
            if node.name not in numbers
        ),
        program.outputs,
    )


@dataclass
class _Symbols:
    """A name for all sizes that are the same, in the program and in those before."""

    taken: set[str]
    names: dict[tuple[int, ...], str] = field(default_factory=dict)

    def of(self, sizes: tuple[int, ...]) -> str:
        """Empty where the size is the same everywhere."""
        if len(set(sizes)) == 1:
            return ""
        if sizes not in self.names:
            name = next(name for i in count() if (name := f"n{i}") not in self.taken)
            self.taken.add(name)
            self.names[sizes] = name
        return self.names[sizes]

    def in_node(self, node: Node, others: Many[Node]) -> Node:
        spec = self.in_spec(node.spec, [other.spec for other in others])
        changed = node if spec is node.spec else replace(node, spec=spec)
        for path, value in literals(node):
            if _is_size(value):
                found = [at(other, path) for other in others]
                symbol = self.of((value, *(other for other in found if _is_size(other))))
                if symbol:
                    changed = with_argument(changed, path, Ref(symbol))
        return changed

    def in_spec(self, spec: Spec | None, others: Many[Spec | None]) -> Spec | None:
        match spec:
            case Tensor(shape, parts=()):
                shapes = [other.shape for other in others if isinstance(other, Tensor)]
                named = tuple(self.of(sizes) for sizes in zip(shape, *shapes, strict=True))
                return replace(spec, symbols=named) if any(named) else spec
            case Sequence(items):
                listed = [other.items for other in others if isinstance(other, Sequence)]
                columns = zip(items, *listed, strict=True)
                found = tuple(self.in_spec(item, rest) or item for item, *rest in columns)
                return spec if found == items else Sequence(found)
        return spec


def _others(own: Sizes, shown: Many[Sizes]) -> tuple[Sizes, ...]:
    return tuple(sizes for sizes in dict.fromkeys(shown) if sizes != own)


def _shown(program: Program, other: Program, known: Mapping[str, int]) -> Sizes:
    """What the symbols of `program` were in `other`, as far as inputs of the same name tell."""
    found = dict(known)
    for node in program.inputs:
        if not isinstance(node.spec, Tensor) or node.name not in other.by_name:
            continue
        spec = other.by_name[node.name].spec
        if isinstance(spec, Tensor) and len(spec.shape) == len(node.spec.symbols):
            pairs = zip(node.spec.symbols, spec.shape, strict=True)
            found.update((symbol, size) for symbol, size in pairs if symbol in known)
    return tuple(found.items())


def _is_alike(program: Program, other: Program) -> bool:
    """Whether the programs differ in nothing but numbers."""
    return len(program.nodes) == len(other.nodes) and all(
        (one.name, one.op, one.target) == (two.name, two.op, two.target)
        and _are_alike(one.spec, two.spec)
        and _form(one) == _form(two)
        for one, two in zip(program.nodes, other.nodes, strict=True)
    )


def _are_alike(one: Spec | None, two: Spec | None) -> bool:
    match one, two:
        case Tensor(), Tensor():
            return len(one.shape) == len(two.shape) and bool(one.parts) == bool(two.parts)
        case Sequence(), Sequence():
            return len(one.items) == len(two.items) and all(map(_are_alike, one.items, two.items))
    return type(one) is type(two)


def _form(node: Node) -> list[Arg]:
    """The arguments of a call without what a size may be, and how they are nested."""
    return [
        None if _is_size(value) else value if isinstance(value, Ref) else str(type(value))
        for _, value in literals(node)
    ]


def _is_size(value: Arg) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _without_symbols(spec: Spec | None) -> Spec | None:
    match spec:
        case Tensor(symbols=symbols) if symbols:
            return replace(spec, symbols=())
        case Sequence(items):
            return Sequence(tuple(_without_symbols(item) or item for item in items))
    return spec
