"""Make the inputs plain: fresh leaf tensors, contiguous, without gradients, from a factory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torchcrux.emit.literals import MOST_WRITTEN
from torchcrux.passes.base import Draft, Edit
from torchcrux.passes.scattered import MOST_FILLED, Ramp, may_be_ramp
from torchcrux.passes.trying import TriedFirst
from torchcrux.program.ir import Node, Program, Value
from torchcrux.program.spec import Sequence, Spec, Tensor, tensors
from torchcrux.program.wrapping import constructors


@dataclass(frozen=True, slots=True)
class PlainInput:
    """Set fields of the spec of a tensor input (all items, if it is a tuple of tensors)."""

    name: str
    words: str
    requires_grad: bool | None = None
    contiguous: bool = False
    dense: bool = False
    one_item: bool = False
    usual: bool = False

    def apply(self, draft: Draft) -> Draft:
        node = draft.program.by_name.get(self.name)
        if node is None or node.spec is None:
            return draft
        value = node.value
        if self.dense and value is Value.STORED and any(one.parts for one in _specs(node)):
            value = Value.RANDOM  # the values of the parts are not those of the whole
        changed = replace(node, spec=self.plain(node.spec), value=value)
        return draft.with_nodes(**{self.name: changed})

    def plain(self, spec: Spec) -> Spec:
        """`spec` with these fields set."""
        if isinstance(spec, Sequence):
            return Sequence(tuple(self.plain(item) for item in spec.items))
        if not isinstance(spec, Tensor):
            return spec
        if self.contiguous:
            spec = replace(spec, strides=None)
        if self.dense:
            spec = replace(spec, form="", lengths=(), parts=())
        if spec.parts:
            parts = tuple((name, self.plain(part)) for name, part in spec.parts)
            spec = replace(spec, parts=parts)  # type: ignore[arg-type]
        if self.one_item and spec.lengths:
            spec = replace(spec, lengths=(sum(spec.lengths),))
        if self.usual:
            spec = replace(spec, inference=False)
        if self.requires_grad is not None:
            spec = replace(spec, requires_grad=self.requires_grad, is_leaf=True)
        return replace(spec, is_leaf=True)

    def __str__(self) -> str:
        return f"{self.name} {self.words}"


@dataclass(frozen=True, slots=True)
class SetValue:
    name: str
    value: Value

    def apply(self, draft: Draft) -> Draft:
        node = draft.program.by_name.get(self.name)
        if node is None:
            return draft
        elements = node.elements if self.value is Value.LITERAL else ()
        changed = replace(node, value=self.value, elements=elements)
        return draft.with_nodes(**{self.name: changed})

    def __str__(self) -> str:
        what = {
            Value.ZEROS: "all zeros",
            Value.ONES: "all ones",
            Value.ARANGE: "numbered from 0",
            Value.RANDOM: "random",
            Value.LITERAL: "as a literal",
            Value.STORED: "stored",
        }
        return f"{self.name} {what[self.value]}"


@dataclass(frozen=True, slots=True)
class Fill:
    """Give all elements of a tensor input the value that one of them has."""

    name: str
    element: int | float

    def apply(self, draft: Draft) -> Draft:
        node = draft.program.by_name.get(self.name)
        if node is None or not isinstance(node.spec, Tensor):
            return draft
        elements = (self.element,) * node.spec.elements
        filled = replace(node, value=Value.LITERAL, elements=elements, samples=())
        return draft.with_nodes(**{self.name: filled})

    def __str__(self) -> str:
        return f"{self.name} all {self.element}"


def without_gradients(draft: Draft) -> Draft:
    """No input requires gradients, and no value that a later cut makes an input does."""
    return _everywhere(draft, PlainInput("", "", requires_grad=False))


def without_subclasses(draft: Draft) -> Draft:
    """No input is of a class of tensors that hold others, nor is such a value of a later cut."""
    if not has_subclasses(draft.program):
        return draft
    return _everywhere(draft, PlainInput("", "", dense=True))


def has_subclasses(program: Program) -> bool:
    return any(spec.parts for node in program.inputs for spec in _specs(node))


def _everywhere(draft: Draft, plain: PlainInput) -> Draft:
    specs = {node.spec for node in draft.program.nodes if node.spec is not None}
    changed = {spec: plain.plain(spec) for spec in specs}
    nodes = tuple(
        replace(node, spec=changed[node.spec])
        if node.spec is not None and changed[node.spec] != node.spec
        else node
        for node in draft.program.nodes
    )
    return replace(draft, program=replace(draft.program, nodes=nodes))


def _specs(node: Node) -> tuple[Tensor, ...]:
    return tuple(tensors(node.spec))


class Gradients:
    """An input that does not require gradients makes the compiler take its shorter way."""

    name = "gradients"
    summary = "inputs do not require gradients, or are leaves"
    example = "torch.randn(2, requires_grad=True)  ->  torch.randn(2)"

    def edits(self, draft: Draft) -> Iterator[Edit]:
        for node in draft.program.inputs:
            if any(spec.requires_grad for spec in _specs(node)):
                yield PlainInput(node.name, "does not require grad", requires_grad=False)
        for node in draft.program.inputs:
            if any(spec.requires_grad and not spec.is_leaf for spec in _specs(node)):
                yield PlainInput(node.name, "is a leaf")


class Layout:
    """Contiguous, dense inputs."""

    name = "layout"
    summary = "inputs are contiguous, and neither sparse, nested nor quantized"
    example = "torch.randn(3, 2).t()  ->  torch.randn(2, 3)"

    def edits(self, draft: Draft) -> Iterator[Edit]:
        for node in draft.program.inputs:
            if any(not spec.is_contiguous for spec in _specs(node)):
                yield PlainInput(node.name, "is contiguous", contiguous=True)
            if any(spec.form or spec.lengths for spec in _specs(node)):
                kind = "plain" if any(spec.parts for spec in _specs(node)) else "dense"
                yield PlainInput(node.name, f"is a {kind} tensor", dense=True)
            if draft.context.inference and any(spec.inference for spec in _specs(node)):
                yield PlainInput(node.name, "is made outside of inference mode", usual=True)
            if any(len(spec.lengths) > 1 for spec in _specs(node)):
                yield PlainInput(node.name, "has one item", one_item=True)


@dataclass(frozen=True, slots=True)
class MadeBy:
    """Make a tensor input that is an instance of a subclass in another way."""

    name: str
    form: str

    def apply(self, draft: Draft) -> Draft:
        node = draft.program.by_name.get(self.name)
        if node is None or not isinstance(node.spec, Tensor):
            return draft
        spec = replace(node.spec, form=self.form)
        return draft.with_nodes(**{self.name: replace(node, spec=spec)})

    def __str__(self) -> str:
        return f"{self.name} made by {self.form}"


class Constructors(TriedFirst):
    """As a user makes a tensor of that class."""

    name = "constructors"
    summary = "tensor subclasses are made by a plain call of the class"
    example = 'Two.__tensor_unflatten__({"a": a, "b": b}, None, (2,), (1,))  ->  Two(a, b)'

    def edits(self, draft: Draft) -> Iterator[Edit]:
        for node in draft.program.inputs:
            if isinstance(node.spec, Tensor) and node.spec.parts:
                yield from (MadeBy(node.name, form) for form in constructors(node.spec))


class RandomValues:
    """Values that eager computed are replaced by random ones of the same kind."""

    name = "random-values"
    summary = "stored values become seeded random ones"
    example = 'data["x"]  ->  torch.randn(2, 3)'

    def edits(self, draft: Draft) -> Iterator[Edit]:
        for node in draft.program.inputs:
            kept = node.value in (Value.STORED, Value.LITERAL)
            if kept and set(node.elements) != {-1}:  # which replaces random ones
                yield SetValue(node.name, Value.RANDOM)


class ConstantValues:
    """What random values do not do, zeros or ones may, or a number of its own throughout: only
    what comes from a factory has sizes that can shrink."""

    name = "constant-values"
    summary = "stored values become zeros, ones, or one of their own"
    example = 'data["x"]  ->  torch.zeros(2, 3)'

    def edits(self, draft: Draft) -> Iterator[Edit]:
        for value in (Value.ONES, Value.ZEROS):
            for node in draft.program.inputs:
                if node.value in (Value.STORED, Value.LITERAL):
                    yield SetValue(node.name, value)
        for node in draft.program.inputs:
            if may_be_ramp(node):
                yield from (Ramp(node.name), Ramp(node.name, down=True))
            if node.value is not Value.STORED or not isinstance(node.spec, Tensor):
                continue
            if not node.spec.form and node.spec.elements <= MOST_FILLED:
                for element in node.samples:
                    yield Fill(node.name, element)


class LiteralValues:
    """A few stored numbers are written out in the script."""

    name = "literal-values"
    summary = "a few stored numbers become a literal"
    example = 'data["x"]  ->  torch.tensor([0.0, 1.0])'

    def edits(self, draft: Draft) -> Iterator[Edit]:
        for node in draft.program.inputs:
            if node.value is Value.STORED and 0 < len(node.elements) <= MOST_WRITTEN:
                yield SetValue(node.name, Value.LITERAL)
