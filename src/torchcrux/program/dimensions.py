"""Sizes: the integers in a program's input shapes and calls, and which of them move together.

Which sizes must be equal to, or products of, one another is not derived from operators. It is
proposed from the numbers themselves, since equal numbers are mostly equal for a reason and a
multiple mostly a product, and eager, which costs next to nothing on a few calls, says what holds.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations

from torchcrux.program.ir import Node, Op, Program, Value
from torchcrux.program.literals import Path, Place, literals, with_argument
from torchcrux.program.spec import Number, Sequence, Spec, Tensor, contiguous_strides

Changes = Mapping[Place, int]
Shape = tuple[int, ...]
Element = int | float | bool | complex | str

MOST_FACTORS = 6
"""Distinct products of a size that are tried together with it; more share no call in practice."""


def sizes(program: Program) -> dict[Place, int]:
    """Every integer above 1 that may be a size: of inputs that a factory makes, and in calls."""
    found: dict[Place, int] = {}
    for node in program.nodes:
        where = _of_input(node) if node.op is Op.INPUT else _of_call(node)
        found.update((Place(node.name, path), value) for path, value in where if value > 1)
    return found


def _of_call(node: Node) -> Iterator[tuple[Path, int]]:
    for path, value in literals(node):
        if isinstance(value, int) and not isinstance(value, bool):
            yield path, value


def _of_input(node: Node) -> Iterator[tuple[Path, int]]:
    if node.value is Value.STORED:
        return
    match node.spec:
        case Tensor(shape=shape):
            yield from ((("shape", d), size) for d, size in enumerate(shape))
        case Sequence(items):
            for i, item in enumerate(items):
                if isinstance(item, Tensor):
                    yield from ((("items", i, d), size) for d, size in enumerate(item.shape))
        case Number(value=int(value)) if not isinstance(value, bool):
            yield ("value",), value


def is_dimension(place: Place) -> bool:
    """Whether the place is in the shape of an input, not in a call."""
    return place.path[0] in ("shape", "items")


def assigned(program: Program, changes: Changes) -> Program:
    """The program with these numbers; what eager computes in it is to be measured anew."""
    by_node: dict[str, dict[Path, int]] = {}
    for place, value in changes.items():
        by_node.setdefault(place.node, {})[place.path] = value
    changed = {name: _with(program.by_name[name], wanted) for name, wanted in by_node.items()}
    return program.replace_nodes({**changed, **_moved(program, changed)})


def _moved(program: Program, changed: Mapping[str, Node]) -> dict[str, Node]:
    """Views of inputs that are `changed`: they begin at the same element of what they are views
    of."""
    moved = {}
    for node in changed.values():
        old, new = program.by_name[node.name].spec, node.spec
        if not (isinstance(new, Tensor) and isinstance(old, Tensor)):
            continue
        if not (new.base and new.memory):
            continue
        for other in program.inputs:
            view = changed.get(other.name, other)
            spec = view.spec
            if isinstance(spec, Tensor) and spec.memory == new.memory and spec.offset:
                offset = _offset(spec.offset, old.shape, new.shape)
                moved[other.name] = replace(view, spec=replace(spec, offset=offset))
    return moved


def _offset(offset: int, old: tuple[int, ...], new: tuple[int, ...]) -> int:
    """Where the element at `offset` of a contiguous tensor is when it has another shape, or the
    last one that there is in a dimension that ends before."""
    place, step = 0, 1
    for had, has in zip(reversed(old), reversed(new), strict=True):
        offset, index = divmod(offset, had) if had else (0, 0)
        place += min(index, max(has - 1, 0)) * step
        step *= has
    return place


def _with(node: Node, wanted: Mapping[Path, int]) -> Node:
    if node.op is not Op.INPUT:
        for path, value in wanted.items():
            node = with_argument(node, path, value)
        return node
    match node.spec:
        case Tensor() as spec:
            shape = tuple(wanted.get(("shape", d), size) for d, size in enumerate(spec.shape))
            elements = node.elements
            if node.value is Value.LITERAL and len(set(map(str, elements))) == 1:
                elements = elements[:1] * math.prod(shape)
            elif node.value is Value.LITERAL:
                elements = _corner(elements, spec.shape, shape)
            return replace(node, spec=reshaped(spec, shape), elements=elements)
        case Sequence(items):
            changed: list[Spec] = []
            for i, item in enumerate(items):
                if isinstance(item, Tensor):
                    shape = tuple(
                        wanted.get(("items", i, d), size) for d, size in enumerate(item.shape)
                    )
                    item = reshaped(item, shape)
                changed.append(item)
            return replace(node, spec=Sequence(tuple(changed)))
        case Number() as number:
            return replace(node, spec=replace(number, value=wanted[("value",)]))
    return node


def _corner(elements: tuple[Element, ...], old: Shape, new: Shape) -> tuple[Element, ...]:
    """The elements that stay where they are in another shape; what is added is as most are."""
    (most, _), *_ = Counter(elements).most_common(1)
    made = [most] * math.prod(new)
    common, start = tuple(map(min, old, new)), (0,) * len(new)
    for place, there in zip(block(new, start, common), block(old, start, common), strict=True):
        made[place] = elements[there]
    return tuple(made)


def block(shape: tuple[int, ...], starts: tuple[int, ...], smaller: tuple[int, ...]) -> list[int]:
    """Row-major positions in `shape` of the elements of a block in it, which begins at `starts`."""
    places = [0]
    for start, size, step in zip(starts, smaller, contiguous_strides(shape), strict=True):
        places = [place + i * step for place in places for i in range(start, start + size)]
    return places


def reshaped(spec: Tensor, shape: tuple[int, ...]) -> Tensor:
    """`spec` in another shape of the same number of dimensions: as dense, in the same order of
    dimensions, and expanded along the same. The dimensions of its parts follow."""
    if spec.parts:
        parts = tuple(
            (name, reshaped(part, _followed(part.shape, spec.shape, shape)))
            for name, part in spec.parts
        )
        return replace(reshaped(replace(spec, parts=()), shape), parts=parts)
    if spec.is_contiguous or spec.strides is None:
        return replace(spec, shape=shape, strides=None)
    strides = spec.strides
    order = sorted(range(len(shape)), key=lambda d: (strides[d], -d))
    dense, step = [0] * len(shape), 1
    for d in order:
        if strides[d] == 0 and spec.shape[d] > 1:
            continue
        dense[d] = step
        step *= max(shape[d], 1)
    return replace(spec, shape=shape, strides=tuple(dense))


def _followed(inner: Shape, old: Shape, new: Shape) -> Shape:
    """The shape of a part when that of the whole changes: what is as long as a dimension there, or
    a fraction of it, stays so."""
    found = []
    for place, size in enumerate(inner):
        times = old[place] // size if place < len(old) and size and old[place] % size == 0 else 0
        if times and (size > 1 or times == 1) and new[place] % times == 0:
            found.append(new[place] // times)
        else:
            found.append(next((new[d] for d, have in enumerate(old) if have == size), size))
    return tuple(found)


def below(program: Program, size: int) -> Program:
    """The program with every random integer below `size`: it may be an index."""

    def clipped(spec: Tensor) -> Tensor:
        if spec.high is None or spec.low is None or spec.is_floating or spec.high < size:
            return spec
        return replace(spec, low=min(spec.low, size - 1), high=size - 1)

    changes = {
        node.name: replace(node, spec=clipped(node.spec))
        for node in program.inputs
        if isinstance(node.spec, Tensor) and node.value is Value.RANDOM
    }
    return program.replace_nodes(changes)


@dataclass(frozen=True, slots=True)
class Follow:
    """A size and those that may have to change with it, by their present values."""

    found: Mapping[Place, int]
    leader: Place

    @property
    def value(self) -> int:
        return self.found[self.leader]

    def proposals(self, wanted: int) -> Iterator[Changes]:
        """Ways to give the leader the value `wanted`, those that change the least kinds first."""
        value, leader = self.value, self.leader
        equal = {place: wanted for place, have in self.found.items() if have == value}
        shapes = {place: wanted for place in equal if is_dimension(place)}
        starts = list(_distinct([{leader: wanted}, {**shapes, leader: wanted}, equal]))
        yield from starts
        products = self._products()[:MOST_FACTORS]
        for count in (1, 2, len(products)):
            for some in combinations(products, min(count, len(products))):
                scaled = {
                    place: have // value * wanted
                    for place, have in self.found.items()
                    if have in some
                }
                if scaled:
                    for start in starts:
                        yield {**scaled, **start}
        powers = {place: self._power(have, wanted) for place, have in self.found.items()}
        yield {place: number for place, number in powers.items() if number != self.found[place]}
        less = value - wanted
        for place, have in self.found.items():
            if have > less and have != value:
                for start in starts:
                    yield {**start, place: have - less}

    def _products(self) -> list[int]:
        found = {have for have in self.found.values() if have > self.value}
        return sorted(have for have in found if have % self.value == 0)

    def _power(self, have: int, wanted: int) -> int:
        count = 0
        while have % self.value == 0:
            have //= self.value
            count += 1
        return int(have * wanted**count)


def _distinct(proposals: list[dict[Place, int]]) -> Iterator[dict[Place, int]]:
    for i, one in enumerate(proposals):
        if one not in proposals[:i]:
            yield one
