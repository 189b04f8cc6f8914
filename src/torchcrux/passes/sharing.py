"""Inputs in memory of their own, at its beginning; else as near to one another as can be."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from torchcrux.emit.memory import extent, sharing
from torchcrux.passes.base import Draft, Edit
from torchcrux.program.ir import Node
from torchcrux.program.spec import Tensor


@dataclass(frozen=True, slots=True)
class Place:
    """Where inputs lie: each at its offset, in memory of its own unless `shared`."""

    offsets: tuple[tuple[str, int], ...]
    shared: bool
    words: str

    def apply(self, draft: Draft) -> Draft:
        changes: dict[str, Node] = {}
        for name, offset in self.offsets:
            node = draft.program.by_name.get(name)
            if node is not None and isinstance(node.spec, Tensor):
                memory = node.spec.memory if self.shared else ""
                spec = replace(node.spec, memory=memory, offset=offset)
                changes[name] = replace(node, spec=spec)
        return draft.with_nodes(**changes)

    def __str__(self) -> str:
        return self.words


class Sharing:
    name = "sharing"
    summary = "inputs do not share memory, and begin where it does"
    example = "base = torch.ones(4); f(base[:2], base[1:3])  ->  f(torch.ones(2), torch.ones(2))"

    def edits(self, draft: Draft) -> Iterator[Edit]:
        for group in sharing(draft.program):
            alone = len(group) == 1
            for node, spec in group if len(group) > 2 or alone else group[-1:]:
                others = [one.name for one, _ in group if one is not node]
                words = f"{node.name} does not share memory with {' and '.join(others)}"
                words = f"{node.name} without an offset" if alone else words
                yield Place(((node.name, 0),), False, words)
                if alone and spec.offset > 1:
                    words = f"{node.name} at offset 1 instead of {spec.offset}"
                    yield Place(((node.name, 1),), False, words)
        for group in sharing(draft.program):
            if len(group) > 1:
                least = min(spec.offset for _, spec in group)
                if least:
                    moved = tuple((node.name, spec.offset - least) for node, spec in group)
                    names = " and ".join(name for name, _ in moved)
                    yield Place(moved, True, f"{names} at the beginning of their memory")
                ends = {spec.offset + extent(spec) for _, spec in group}
                rows = [math.prod(spec.shape[1:]) for _, spec in group if spec.base]
                for node, spec in group:
                    for offset in sorted({0, *(rows or [1])} | ends):
                        if offset < spec.offset:
                            words = f"{node.name} at offset {offset} instead of {spec.offset}"
                            yield Place(((node.name, offset),), True, words)


def apart(draft: Draft) -> Draft:
    """No input shares memory with another."""
    changes: dict[str, Node] = {}
    for node in draft.program.inputs:
        if isinstance(node.spec, Tensor) and (node.spec.memory or node.spec.offset):
            changes[node.name] = replace(node, spec=replace(node.spec, memory="", offset=0))
    return draft.with_nodes(**changes) if changes else draft
