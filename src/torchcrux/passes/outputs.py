"""Return fewer values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torchcrux.emit.flow import written
from torchcrux.emit.random import writes
from torchcrux.passes.base import Draft, Edit
from torchcrux.program.ir import Op, Ref
from torchcrux.program.spec import Tensor


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


@dataclass(frozen=True, slots=True)
class ReturnInput:
    """Return an input that is written to, and compare nothing else."""

    name: str

    def apply(self, draft: Draft) -> Draft:
        program = replace(draft.program, outputs=(self.name,))
        return replace(draft, program=program, context=replace(draft.context, changes=False))

    def __str__(self) -> str:
        return f"{self.name} is all that is returned"


@dataclass(frozen=True, slots=True)
class ReturnWritten:
    """Return what the call `by` returns for its operand `name`, into which it has written: ``return
    x.add_(1)`` is one line less."""

    name: str
    by: str

    def apply(self, draft: Draft) -> Draft:
        program = draft.program
        if self.name not in program.outputs or self.by not in program.by_name:
            return draft
        outputs = tuple(self.by if name == self.name else name for name in program.outputs)
        return replace(draft, program=replace(program, outputs=tuple(dict.fromkeys(outputs))))

    def __str__(self) -> str:
        return f"{self.by} is returned instead of {self.name}"


class Outputs:
    """Stop returning a value that another call uses as well, or that is written to an operand. Or
    return such an operand, instead of comparing all inputs after the call."""

    name = "outputs"
    summary = "return fewer values"
    example = "return y, z  ->  return z"

    def edits(self, draft: Draft) -> Iterator[Edit]:
        used = {name for node in draft.program.calls for name in node.references()}
        for name in draft.program.outputs:
            if name in used or writes(draft.program.by_name[name]):
                yield DropOutput(name)
        last = draft.program.calls[-1] if draft.program.calls else None
        if last is not None and last.op is Op.METHOD and writes(last):
            operand = last.args[0]
            if isinstance(operand, Ref) and operand.name in draft.program.outputs:
                yield ReturnWritten(operand.name, last.name)
        if draft.context.changes:
            for name in sorted(written(draft.program)):
                if isinstance(draft.program.by_name[name].spec, Tensor):
                    yield ReturnInput(name)
