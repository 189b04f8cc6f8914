"""Dimensions of size 1 that the failure does not need."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torchcrux.passes.base import Draft, Edit
from torchcrux.passes.trying import Asking, Runs, first_that_runs
from torchcrux.program.ir import Node, Op, Value
from torchcrux.program.literals import Place, at, literals, with_argument, without_argument
from torchcrux.program.spec import Tensor


@dataclass(frozen=True)
class DropDimension:
    """Drop dimension `dimension`, of size 1, of the inputs `names`; `less` is the place of an
    integer in a call that is one less then, `gone` that of an argument that goes."""

    names: tuple[str, ...]
    dimension: int
    less: Place | None = None
    gone: Place | None = None

    def apply(self, draft: Draft) -> Draft:
        program = draft.program
        changes: dict[str, Node] = {}
        for name in self.names:
            node = program.by_name.get(name)
            if node is None or not _has_one(node, self.dimension):
                return draft
            changes[name] = replace(node, spec=_without(node.spec, self.dimension))
        if self.less is not None:
            call = program.by_name[self.less.node]
            value = at(call, self.less.path)
            assert isinstance(value, int)
            changes[call.name] = with_argument(call, self.less.path, value - 1)
        if self.gone is not None:
            call = program.by_name[self.gone.node]
            changes[call.name] = without_argument(call, self.gone.path)
        return replace(draft, program=program.replace_nodes(changes))

    def __str__(self) -> str:
        return f"without dimension {self.dimension} of {', '.join(self.names)}"


class Dimensions:
    """Fewer dimensions."""

    name = "dimensions"
    summary = "inputs lose dimensions of size 1"
    example = "torch.randn(1, 1, 2)  ->  torch.randn(2)"

    def edits(self, draft: Draft) -> Iterator[Edit]:
        return iter(())

    def search(self, draft: Draft, runs: Runs) -> Asking:
        """As far down as eager goes; where that no longer fails, the last on the way there that
        does; where none does, any other dimension that may go."""
        chain: list[Draft] = []
        below = draft
        while (found := _next(below, runs)) is not None:
            below = found[1]
            chain.append(below)
        if not chain:
            return draft
        if (yield [chain[-1]])[0]:
            return chain[-1]
        above = chain[:-1]
        told = (yield above) if above else ()
        for one, fails in zip(reversed(above), reversed([*told]), strict=True):
            if fails:
                return one
        edits = self.neighbours(draft, runs)
        single = [one for one in runs([edit.apply(draft) for edit in edits]) if one is not None]
        if single:
            told = yield single
            draft = next((one for one, fails in zip(single, told, strict=True) if fails), draft)
        return draft

    def neighbours(self, draft: Draft, runs: Runs) -> list[Edit]:
        found: dict[tuple[tuple[str, ...], int], Edit] = {}
        options = list(_options(draft))
        told = runs([one.apply(draft) for one in options])
        for option, one in zip(options, told, strict=True):
            if one is not None:
                found.setdefault((option.names, option.dimension), option)
        return list(found.values())


def _next(draft: Draft, runs: Runs) -> tuple[int, Draft] | None:
    return first_that_runs([one.apply(draft) for one in _options(draft)], runs)


def _options(draft: Draft) -> Iterator[DropDimension]:
    """From many inputs at once to few, and without changes in calls first."""
    shapes = {
        node.name: node.spec.shape
        for node in draft.program.inputs
        if isinstance(node.spec, Tensor) and node.value is not Value.STORED
    }
    most = max((len(shape) for shape in shapes.values()), default=0)
    groups: dict[tuple[tuple[str, ...], int], None] = {}
    for d in range(most):
        for rank in range(most, 1, -1):
            same = tuple(
                name
                for name, s in shapes.items()
                if len(s) > 1 and rank <= len(s) and d < len(s) and s[d] == 1
            )
            if same:
                groups[same, d] = None
        for name, shape in shapes.items():
            if len(shape) > 1 and d < len(shape) and shape[d] == 1:
                groups[(name,), d] = None
    for names, d in groups:
        yield DropDimension(names, d)
    places = [
        (Place(node.name, path), value)
        for node in draft.program.calls
        for path, value in literals(node)
        if isinstance(value, int) and not isinstance(value, bool)
        if len(path) > 2 or not node.target.startswith("operator.")
    ]
    for names, d in groups:
        for place, value in places:
            if value >= 1:
                yield DropDimension(names, d, less=place)
            if value in (1, -1) and _may_go(place):
                yield DropDimension(names, d, gone=place)


def _may_go(place: Place) -> bool:
    """Whether the number is an item of a tuple or list, or a positional argument."""
    return isinstance(place.path[-1], int)


def _has_one(node: Node, d: int) -> bool:
    return (
        node.op is Op.INPUT
        and isinstance(node.spec, Tensor)
        and len(node.spec.shape) > 1
        and d < len(node.spec.shape)
        and node.spec.shape[d] == 1
    )


def _without(spec: object, d: int) -> Tensor:
    assert isinstance(spec, Tensor)
    strides = None if spec.strides is None else spec.strides[:d] + spec.strides[d + 1 :]
    symbols = spec.symbols[:d] + spec.symbols[d + 1 :] if spec.symbols else ()
    rank = len(spec.shape)
    parts = tuple(
        (name, _without(part, d) if len(part.shape) == rank and part.shape[d] == 1 else part)
        for name, part in spec.parts
    )
    shape = spec.shape[:d] + spec.shape[d + 1 :]
    return replace(spec, shape=shape, strides=strides, symbols=symbols, parts=parts)
