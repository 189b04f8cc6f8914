"""Cut operations away, wherever they stand in the graph."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from torchcrux.passes.base import Draft, Edit
from torchcrux.program.cut import Uncuttable, keep, positions, severed
from torchcrux.program.ir import Dataflow, Op, Value


@dataclass(frozen=True, slots=True)
class CutCall:
    name: str

    def apply(self, draft: Draft) -> Draft:
        flow = Dataflow(draft.program)
        kept = [
            i
            for i, node in enumerate(draft.program.nodes)
            if node.op is not Op.INPUT and node.name != self.name
        ]
        return replace(draft, program=keep(flow, kept, severed(draft.program)))

    def __str__(self) -> str:
        return f"without {self.name}"


class Cut:
    """Replace a call by an input that holds what eager computed there."""

    name = "cut"
    summary = "remove operations; what they computed becomes an input"
    example = "y = torch.relu(torch.sin(x))  ->  y = torch.relu(sin)"

    def edits(self, draft: Draft) -> Iterator[Edit]:
        for node in draft.program.calls:
            yield CutCall(node.name)


@dataclass(frozen=True)
class CutLevel:
    """All cuts of one draft at once: bit i of a mask removes the i-th call.

    A program of any subset costs what it keeps, however large the draft is. `value` says how the
    severed values are made.
    """

    draft: Draft
    value: Value = Value.RANDOM
    flow: Dataflow = field(init=False)
    calls: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        flow = Dataflow(self.draft.program)
        calls = tuple(
            i for i, node in enumerate(self.draft.program.nodes) if node.op is not Op.INPUT
        )
        object.__setattr__(self, "flow", flow)
        object.__setattr__(self, "calls", calls)

    @property
    def size(self) -> int:
        return len(self.calls)

    def candidate(self, mask: int) -> Draft | None:
        """The draft without the calls in `mask`; None if that is no program."""
        kept = positions(((1 << self.size) - 1) & ~mask)
        if not kept:
            return None
        try:
            program = keep(self.flow, map(self.calls.__getitem__, kept), self.value)
        except Uncuttable:
            return None
        return replace(self.draft, program=program)
