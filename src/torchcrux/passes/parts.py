"""Of values that matter, the part that matters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torchcrux.passes.base import Draft, Edit
from torchcrux.passes.scattered import kept_inputs, values_known
from torchcrux.passes.trying import Asking, Runs
from torchcrux.program.dimensions import block, reshaped
from torchcrux.program.ir import Value
from torchcrux.program.spec import Tensor

AT_ONCE = 2
"""Parts asked at once, two halves: where one of them fails, the others are never asked."""


@dataclass(frozen=True, slots=True)
class Part:
    """Of the dimension of some inputs, given as pairs, the places from `start` to `stop` only; the
    values are written out."""

    where: tuple[tuple[str, int], ...]
    start: int
    stop: int

    def apply(self, draft: Draft) -> Draft:
        changes = {}
        for name, dim in self.where:
            node = draft.program.by_name.get(name)
            if node is None or not values_known(node):
                return draft
            spec = node.spec
            assert isinstance(spec, Tensor)
            if len(spec.shape) <= dim or spec.shape[dim] < self.stop:
                return draft
            starts = tuple(self.start if d == dim else 0 for d in range(len(spec.shape)))
            shape = (*spec.shape[:dim], self.stop - self.start, *spec.shape[dim + 1 :])
            elements = tuple(node.elements[i] for i in block(spec.shape, starts, shape))
            changes[name] = replace(
                node, spec=reshaped(spec, shape), value=Value.LITERAL, elements=elements
            )
        return draft.with_nodes(**changes)

    def __str__(self) -> str:
        names = ", ".join(name for name, _ in self.where)
        return f"only [{self.start}:{self.stop}] of dimension {self.where[0][1]} of {names}"


class Parts:
    """Where a few values matter, as a NaN among numbers, halves of the input that holds them: what
    becomes smaller with its size keeps its first values."""

    name = "parts"
    summary = "of stored values, the half that matters"
    example = 'data["x"]  ->  torch.tensor([0.0, float("nan")])'

    def edits(self, draft: Draft) -> Iterator[Edit]:
        return iter(())

    def search(self, draft: Draft, runs: Runs) -> Asking:
        (measured,) = runs([draft])
        draft = before = draft if measured is None else measured
        while True:
            told = runs([part.apply(draft) for part in _parts(draft)])
            smaller = [one for one in told if one is not None and one != draft]
            best = None
            for start in range(0, len(smaller), AT_ONCE):
                asked = smaller[start : start + AT_ONCE]
                fails = yield asked
                best = next((one for one, same in zip(asked, fails, strict=True) if same), None)
                if best is not None:
                    break
            if best is None:
                return before if kept_inputs(draft.program) else draft
            draft = best

    def neighbours(self, draft: Draft, runs: Runs) -> list[Edit]:
        parts = list(_parts(draft))
        told = runs([part.apply(draft) for part in parts])
        return [part for part, one in zip(parts, told, strict=True) if one is not None]


def _parts(draft: Draft) -> Iterator[Part]:
    """Each half of each dimension, and last all but its first place: in all inputs that have the
    same size there, and alone."""
    sized: dict[int, list[tuple[str, int]]] = {}
    for node in draft.program.inputs:
        if values_known(node) and isinstance(node.spec, Tensor):
            for dim, size in enumerate(node.spec.shape):
                sized.setdefault(size, []).append((node.name, dim))
    wheres = [
        (where, size)
        for size, places in sized.items()
        if size > 1
        for where in dict.fromkeys([tuple(places), *((place,) for place in places)])
    ]
    for where, size in wheres:
        yield Part(where, 0, size // 2)
        yield Part(where, size // 2, size)
    yield from (Part(where, 1, size) for where, size in wheres if size > 2)
