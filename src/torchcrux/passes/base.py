"""What a pass is: a name, an example, and the edits it would make to a draft.

A pass knows no strategy. It lists edits that are independent of one another; the search decides
which to ask together. An edit is plain data with one method.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from torchcrux.program.context import Context
from torchcrux.program.ir import Node, Program


@dataclass(frozen=True)
class Draft:
    """A program and its context: all that a script is made from."""

    program: Program
    context: Context

    def with_nodes(self, **changes: Node) -> Draft:
        return replace(self, program=self.program.replace_nodes(changes))


class Edit(Protocol):
    """One small change to a draft."""

    def apply(self, draft: Draft) -> Draft:
        """The changed draft; the same draft if what was to be changed is gone."""
        ...

    def __str__(self) -> str:
        """The change in words, as ``x: float32 -> float64``."""
        ...


class Pass(Protocol):
    name: str
    summary: str
    example: str

    def edits(self, draft: Draft) -> Iterator[Edit]: ...
