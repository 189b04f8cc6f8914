"""Among many values, the few that matter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace

from torchcrux.core.search.merge import merge
from torchcrux.emit.literals import MOST_WRITTEN, ramp, written
from torchcrux.passes.base import Draft, Edit
from torchcrux.passes.trying import Asking, Runs
from torchcrux.program.dimensions import reshaped
from torchcrux.program.ir import Node, Program, Value
from torchcrux.program.spec import Tensor, contiguous_strides

MOST_QUESTIONS = 320
"""Of one input in one round of passes: enough for seventy elements among two hundred."""

MOST_IN_VAIN = 112
"""Of these, while no element could be left out: then all of them seem to matter."""

MOST_CERTIFIED = 16
"""Elements; where more matter, they are not asked one by one."""

MOST_FILLED = 65_536
"""Elements; what is larger would take long to print."""

Number = int | float | bool | complex | str


@dataclass(frozen=True, slots=True)
class Only:
    """Of the elements of an input, those at the row-major places `kept` keep their values; all
    others are zero."""

    name: str
    kept: tuple[int, ...]
    words: str

    def apply(self, draft: Draft) -> Draft:
        node = draft.program.by_name.get(self.name)
        if node is None or not values_known(node):
            return draft
        elements: list[Number] = [_zero(node)] * len(node.elements)
        for place in self.kept:
            elements[place] = node.elements[place]
        changed = replace(node, value=Value.LITERAL, elements=tuple(elements), samples=())
        return draft.with_nodes(**{self.name: changed})

    def __str__(self) -> str:
        return self.words


@dataclass(frozen=True, slots=True)
class Ramp:
    """Number the elements of an integer input, upwards or downwards, as long as that stays below
    the greatest one it has had."""

    name: str
    down: bool = False

    def apply(self, draft: Draft) -> Draft:
        node = draft.program.by_name.get(self.name)
        if node is None or not isinstance(node.spec, Tensor):
            return draft
        count = node.spec.elements
        elements = tuple(range(count - 1, -1, -1) if self.down else range(count))
        changed = replace(node, value=Value.LITERAL, elements=elements, samples=())
        return draft.with_nodes(**{self.name: changed})

    def __str__(self) -> str:
        return f"{self.name} numbered {'downwards' if self.down else 'upwards'}"


@dataclass(frozen=True, slots=True)
class Rows:
    """Of the dimension of some inputs, given as pairs, the places `kept` only."""

    where: tuple[tuple[str, int], ...]
    kept: tuple[int, ...]

    def apply(self, draft: Draft) -> Draft:
        changes = {}
        for name, dim in self.where:
            node = draft.program.by_name.get(name)
            if node is None or not isinstance(node.spec, Tensor) or len(node.spec.shape) <= dim:
                return draft
            shape = list(node.spec.shape)
            step, size = contiguous_strides(node.spec.shape)[dim], shape[dim]
            if self.kept[-1] >= size:
                return draft
            elements = node.elements
            if values_known(node):
                places = enumerate(elements)
                elements = tuple(one for i, one in places if i // step % size in self.kept)
            elif node.value in (Value.STORED, Value.LITERAL):
                return draft
            shape[dim] = len(self.kept)
            spec = reshaped(node.spec, tuple(shape))
            changes[name] = replace(node, spec=spec, elements=elements)
        return draft.with_nodes(**changes)

    def __str__(self) -> str:
        names = " and ".join(name for name, _ in self.where)
        return f"only {len(self.kept)} places of dimension {self.where[0][1]} of {names}"


class Scattered:
    """Zeros wherever the value of an element does not matter; then without the rows of zeros."""

    name = "scattered"
    summary = "of stored values, the elements that matter, among zeros"
    example = 'data["x"]  ->  torch.zeros(9).put(torch.tensor(5), torch.tensor(float("nan")))'

    def edits(self, draft: Draft) -> Iterator[Edit]:
        return iter(())

    def search(self, draft: Draft, runs: Runs) -> Asking:
        (measured,) = runs([draft])
        draft = draft if measured is None else measured
        for name in [node.name for node in draft.program.inputs if values_known(node)]:
            draft = yield from self._of_one(draft, name, runs)
        return draft

    def _of_one(self, draft: Draft, name: str, runs: Runs) -> Asking:
        node = draft.program.by_name[name]
        places = _not_zero(node)
        if ramp(node.elements) is not None:
            return draft
        if node.value is Value.STORED or len(places) > 1:
            removed = yield from self._removed(draft, name, places)
            kept = tuple(place for i, place in enumerate(places) if not removed >> i & 1)
            if len(kept) > MOST_WRITTEN:
                return draft
            if removed:
                draft = Only(name, kept, "").apply(draft)
        for edit in _rows(draft, name):
            changed = edit.apply(draft)
            (smaller,) = runs([changed]) if changed is not draft else (None,)
            if smaller is not None and (yield [smaller])[0]:
                draft = smaller
        return draft

    def _removed(
        self, draft: Draft, name: str, places: Sequence[int]
    ) -> Generator[list[Draft], Sequence[bool], int]:
        """Which of the `places` may be zero, as a mask."""
        steps = merge(len(places))
        best = asked = 0
        told: tuple[bool, ...] | None = None
        while asked < (MOST_QUESTIONS if best else MOST_IN_VAIN):
            try:
                masks = next(steps) if told is None else steps.send(told)
            except StopIteration as end:
                return int(end.value)
            asked += len(masks)
            drafts = []
            for mask in masks:
                kept = tuple(place for i, place in enumerate(places) if not mask >> i & 1)
                drafts.append(Only(name, kept, "").apply(draft))
            told = tuple((yield drafts))
            same = [mask for mask, fails in zip(masks, told, strict=True) if fails]
            best = max([best, *same], key=int.bit_count)
        return best

    def neighbours(self, draft: Draft, runs: Runs) -> list[Edit]:
        edits: list[Edit] = []
        for node in draft.program.inputs:
            if not values_known(node) or node.value is not Value.LITERAL:
                continue
            places = _not_zero(node)
            if ramp(node.elements) is None and 1 < len(places) <= MOST_CERTIFIED:
                for place in places:
                    kept = tuple(one for one in places if one != place)
                    value = node.elements[place]
                    edits.append(Only(node.name, kept, f"{node.name} with 0 instead of {value}"))
            edits += _rows(draft, node.name)
        told = runs([edit.apply(draft) for edit in edits])
        return [edit for edit, one in zip(edits, told, strict=True) if one is not None]


def may_be_ramp(node: Node) -> bool:
    """Whether the elements of an input are integers that could as well be numbered."""
    spec = node.spec
    return (
        isinstance(spec, Tensor)
        and node.value in (Value.STORED, Value.LITERAL)
        and not (spec.is_floating or spec.form or spec.lengths)
        and 4 <= spec.elements <= min((spec.high or 0) + 1, MOST_FILLED)
        and ramp(node.elements) is None
    )


def values_known(node: Node) -> bool:
    """Whether the elements of an input are known one by one, and not all the same."""
    spec = node.spec
    return (
        isinstance(spec, Tensor)
        and node.value in (Value.STORED, Value.LITERAL)
        and len(node.elements) == spec.elements
        and len(set(map(str, node.elements))) > 1
        and spec.is_contiguous
        and not (spec.form or spec.lengths or spec.conj)
    )


def kept_inputs(program: Program) -> list[str]:
    """The inputs whose values are in a file, or written out with more numbers than a script
    should show."""
    return [
        node.name
        for node in program.inputs
        if node.value is Value.STORED
        or (
            node.value is Value.LITERAL
            and ramp(node.elements) is None
            and len(written(node.elements)) > MOST_WRITTEN
        )
    ]


def _zero(node: Node) -> Number:
    kinds = Counter(type(value) for value in node.elements)
    return False if kinds[bool] else 0 if kinds[int] else 0.0


def _not_zero(node: Node) -> list[int]:
    zero = str(_zero(node))
    return [place for place, value in enumerate(node.elements) if str(value) != zero]


def _rows(draft: Draft, name: str) -> list[Edit]:
    """Without the places of each dimension at which there is nothing but what fills the rest:
    together with the other inputs that are as long, or alone."""
    node = draft.program.by_name[name]
    spec = node.spec
    if not values_known(node) or not isinstance(spec, Tensor) or node.value is Value.STORED:
        return []
    places = written(node.elements)
    edits: list[Edit] = []
    for dim, (size, step) in enumerate(
        zip(spec.shape, contiguous_strides(spec.shape), strict=True)
    ):
        kept = tuple(sorted({place // step % size for place in places}))
        if 0 < len(kept) < size:
            alike = tuple(
                (other.name, d)
                for other in draft.program.inputs
                if isinstance(other.spec, Tensor) and other.name != name
                for d, have in enumerate(other.spec.shape)
                if have == size
            )
            edits += [Rows(((name, dim), *alike), kept)] * bool(alike)
            edits.append(Rows(((name, dim),), kept))
    return edits
