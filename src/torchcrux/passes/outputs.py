"""Return fewer values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torchcrux.emit.random import writes
from torchcrux.passes.base import Draft, Edit


@dataclass(frozen=True, slots=True)
class DropOutput:
    name: str

    def apply(self, draft: Draft) -> Draft:
        left = tuple(name for name in draft.program.outputs if name != self.name)
        if not left:
            return draft
        return replace(draft, program=replace(draft.program, outputs=left))

    def __str__(self) -> str:
        return f"{self.name} is not returned"


class Outputs:
    """Stop returning a value that another call uses as well, or that is written to an operand."""

    name = "outputs"
    summary = "return fewer values"
    example = "return y, z  ->  return z"

    def edits(self, draft: Draft) -> Iterator[Edit]:
        used = {name for node in draft.program.calls for name in node.references()}
        for name in draft.program.outputs:
            if name in used or writes(draft.program.by_name[name]):
                yield DropOutput(name)
