"""Inputs of a class of tensors that is made of others."""

from torchcrux.emit.inputs import factory
from torchcrux.passes import Draft
from torchcrux.passes.inputs import Constructors, Layout, without_subclasses
from torchcrux.passes.registrations import DropMethod
from torchcrux.program.context import Context
from torchcrux.program.dimensions import reshaped
from torchcrux.program.ir import Node, Op, Program, Ref
from torchcrux.program.spec import Tensor, stored_under
from torchcrux.program.wrapping import unflattened

PARTS = (("q", Tensor((8, 4), "int8")), ("scale", Tensor((8, 1))), ("packed", Tensor((8, 2))))
SPEC = Tensor((8, 4), form=unflattened("Quant", ["q", "scale", "packed"], "None"), parts=PARTS)
CLASS = """class Quant:
    limit = 1

    @classmethod
    def made(cls):
        return cls()

    def kept(self):
        return 1
"""


def quantized():
    x = Node("x", Op.INPUT, spec=SPEC)
    y = Node("y", Op.FUNCTION, "torch.relu", (Ref("x"),), spec=SPEC)
    return Draft(Program((x, y), ("y",)), Context(operators=(("Quant", CLASS),)))


def test_parts_follow_the_size_of_the_whole():
    smaller = reshaped(SPEC, (3, 2))
    assert [part.shape for _, part in smaller.parts] == [(3, 2), (3, 1), (3, 1)]
    assert stored_under("x", SPEC) == ["x.q", "x.scale", "x.packed"]


def test_it_becomes_a_plain_call_or_a_plain_tensor():
    draft = quantized()
    (edit,) = Constructors().edits(draft)
    made = edit.apply(draft)
    assert factory(made.program.inputs[0]).startswith("Quant(torch.randint(")
    assert not [*Constructors().edits(made)]
    (plain,) = (edit for edit in Layout().edits(draft) if "plain tensor" in str(edit))
    assert factory(plain.apply(draft).program.inputs[0]) == "torch.randn(8, 4)"
    assert not any(node.spec.parts for node in without_subclasses(draft).program.nodes)


def test_methods_are_dropped_one_by_one():
    left = DropMethod("Quant", "made").apply(quantized()).context.operators[0][1]
    assert left == "class Quant:\n    limit = 1\n\n    def kept(self):\n        return 1\n"
