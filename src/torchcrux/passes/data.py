"""Constants in the place of random numbers: a seed only if the numbers matter."""

from __future__ import annotations

from collections.abc import Iterator

from torchcrux.emit.inputs import uses_random
from torchcrux.passes.base import Draft, Edit
from torchcrux.passes.inputs import SetValue
from torchcrux.passes.trying import TriedFirst
from torchcrux.program.ir import Value
from torchcrux.program.spec import Tensor


class PlainValues(TriedFirst):
    """Ones, and zeros for integers, which are always indices that exist; `swapped`, the other way
    round, for what is still random then."""

    summary = "random values become ones or zeros"
    example = "torch.randn(2)  ->  torch.ones(2)"

    def __init__(self, swapped: bool = False) -> None:
        self.swapped = swapped
        self.name = "other-plain-values" if swapped else "plain-values"

    def edits(self, draft: Draft) -> Iterator[Edit]:
        for node in draft.program.inputs:
            if node.value is Value.RANDOM and uses_random(node):
                spec = node.spec
                index = isinstance(spec, Tensor) and not spec.is_floating
                zeros = index is not self.swapped
                yield SetValue(node.name, Value.ZEROS if zeros else Value.ONES)
