"""Operations and inputs replaced by what is there already."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from torchcrux.emit.names import LETTERS, variables
from torchcrux.emit.random import draws_random, writes
from torchcrux.passes.base import Draft, Edit
from torchcrux.passes.trying import TriedFirst
from torchcrux.program.ir import Node, Op, Program, Value
from torchcrux.program.literals import substituted, tidied
from torchcrux.program.spec import Tensor


@dataclass(frozen=True, slots=True)
class ReplaceNode:
    """Use the value `by` in the place of the value `name`, which is computed no more."""

    name: str
    by: str
    words: str

    def apply(self, draft: Draft) -> Draft:
        program = draft.program
        if self.name not in program.by_name or self.by not in program.by_name:
            return draft
        left = Program(
            tuple(node for node in program.nodes if node.name != self.name), program.outputs
        )
        return replace(draft, program=tidied(substituted(left, {self.name: self.by})))

    def __str__(self) -> str:
        return self.words


class Bypass(TriedFirst):
    """An operation in the middle that cannot be cut, since what it computes matters, may do
    without being computed all the same. Where something is written in place, neither can a view of
    an input be cut: only the input itself shares memory as the view does. Nor where the input has
    another use, and it matters that both are of the same values."""

    name = "bypass"
    summary = "an operation is replaced by an operand of the same dtype and shape, but for ones"
    example = "y = torch.sigmoid(x); return y + 1  ->  return x + 1"

    def edits(self, draft: Draft) -> Iterator[Edit]:
        used = Counter(name for node in draft.program.calls for name in {*node.references()})
        in_place = any(writes(node) for node in draft.program.calls)
        for node in draft.program.calls:
            if node.name not in used:
                continue  # without it is as good as cut
            for name in node.references():
                operand = draft.program.by_name[name]
                shared = used[name] > 1
                inside = in_place or shared or operand.op is not Op.INPUT
                if inside and _alike_but_for_ones(node, operand):
                    yield ReplaceNode(node.name, name, f"without {node.name}, {name} instead")
                    break


class SameCalls(TriedFirst):
    """Two calls alike become one."""

    name = "same-calls"
    summary = "a value is computed once, and used twice"
    example = "a = torch.arange(8); b = torch.arange(8)  ->  a = torch.arange(8)"

    def edits(self, draft: Draft) -> Iterator[Edit]:
        seen: dict[str, str] = {}
        for node in draft.program.calls:
            if writes(node) or draws_random(node):
                continue
            alike = repr((node.op, node.target, node.args, node.kwargs, node.regions))
            first = seen.setdefault(alike, node.name)
            if first != node.name:
                yield ReplaceNode(node.name, first, f"{first} in the place of {node.name}")


class SameInputs(TriedFirst):
    """Two inputs alike become one."""

    name = "same-inputs"
    summary = "one input is used twice, in the place of two alike"
    example = "f(x, y): x @ y  ->  f(x): x @ x"

    def edits(self, draft: Draft) -> Iterator[Edit]:
        inputs = [node for node in draft.program.inputs if node.value is not Value.STORED]
        names = variables(draft.program)
        for i, node in enumerate(inputs):
            for other in inputs[:i]:
                if _role(names[node.name]) != _role(names[other.name]):
                    continue  # a bias is not an activation, even if they look alike by now
                if node.spec == other.spec and node.value is other.value:
                    words = f"{other.name} in the place of {node.name}"
                    yield ReplaceNode(node.name, other.name, words)
                    break


def _role(variable: str) -> str:
    base = variable.rstrip("0123456789").rstrip("_")
    return "" if base in LETTERS else base


def alike(node: Node, operand: Node) -> bool:
    """Whether both are tensors of the same shape, dtype and device."""
    one, other = node.spec, operand.spec
    return (
        isinstance(one, Tensor)
        and isinstance(other, Tensor)
        and (one.shape, one.dtype, one.device) == (other.shape, other.dtype, other.device)
    )


def _alike_but_for_ones(node: Node, operand: Node) -> bool:
    """Whether dimensions of size 1 are all that sets the two apart."""
    one, other = node.spec, operand.spec
    return (
        isinstance(one, Tensor)
        and isinstance(other, Tensor)
        and (one.dtype, one.device) == (other.dtype, other.device)
        and [size for size in one.shape if size != 1] == [size for size in other.shape if size != 1]
    )
