"""Eager's values on disk: what cuts need at the moment, and of the rest as much as has room.

What had to go is computed again when a cut needs it.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torchcrux.program.ir import Node
from torchcrux.program.spec import Tensor, tensors

MOST_STORED = 4 * 2**30
"""Bytes; and no more than a quarter of what is free where they are kept."""


def size_of(node: Node) -> int:
    """Bytes of a value, as far as they are stored."""
    return sum(one.elements * _width(one) for one in tensors(node.spec) if not one.parts)


def _width(spec: Tensor) -> int:
    bits = re.search(r"\d+", spec.dtype)
    return max(1, int(bits[0]) // 8) if bits else 1


@dataclass
class Stock:
    """Which values are kept, by the names of their nodes, those first that were used last."""

    folder: Path
    limit: int = MOST_STORED
    _held: dict[str, tuple[int, Mapping[str, Path]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.limit = min(self.limit, shutil.disk_usage(self.folder).free // 4)

    @property
    def bytes(self) -> int:
        return sum(size for size, _ in self._held.values())

    def add(self, node: Node, files: Mapping[str, Path]) -> None:
        """`files` hold the tensors of the value, each under its own key."""
        self._held[node.name] = (size_of(node), files)

    def used(self, names: Collection[str]) -> None:
        for name in names:
            if name in self._held:
                self._held[name] = self._held.pop(name)

    def make_room(self, size: int, needed: Collection[str]) -> list[str]:
        """Remove values until there is room for `size` bytes, never one that is `needed`; the keys
        that are gone."""
        gone: list[str] = []
        left = self.bytes + size - self.limit
        for name in [name for name in self._held if name not in needed]:
            if left <= 0:
                break
            held, files = self._held.pop(name)
            left -= held
            for key, file in files.items():
                file.unlink(missing_ok=True)
                gone.append(key)
        return gone

    def portions(self, needed: Sequence[Mapping[str, int]]) -> list[range]:
        """The places of `needed`, each some values by name with their sizes, in parts that have
        room together; one that has none by itself is a part all the same."""
        found: list[range] = []
        start, together = 0, dict[str, int]()
        for place, values in enumerate(needed):
            more = {**together, **values}
            if place > start and sum(more.values()) > self.limit:
                found.append(range(start, place))
                start, more = place, {**values}
            together = more
        return [*found, range(start, len(needed))]
