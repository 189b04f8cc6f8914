"""Values of inputs that eager computed."""

from __future__ import annotations

from torchcrux.emit.inputs import factory
from torchcrux.passes import Draft
from torchcrux.passes.inputs import ConstantValues
from torchcrux.program.context import Context
from torchcrux.program.dimensions import sizes
from torchcrux.program.ir import Node, Op, Program, Ref, Value
from torchcrux.program.spec import Tensor

INF = float("inf")


def test_a_large_tensor_may_be_one_of_its_numbers_throughout():
    spec = Tensor((4, 32))
    x = Node("x", Op.INPUT, spec=spec, value=Value.STORED, samples=(INF, 3.5))
    y = Node("y", Op.FUNCTION, "torch.relu", (Ref("x"),), spec=spec)
    draft = Draft(Program((x, y), ("y",)), Context())
    assert not sizes(draft.program)
    edits = {str(edit): edit for edit in ConstantValues().edits(draft)}
    filled = edits["x all inf"].apply(draft)
    assert sorted(sizes(filled.program).values()) == [4, 32]
    assert filled.program.inputs[0].elements == (INF,) * 128
    assert factory(filled.program.inputs[0]) == 'torch.full((4, 32), float("inf"))'
    assert not [edit for edit in ConstantValues().edits(filled) if "inf" in str(edit)]
