"""Values of inputs that eager computed."""

from __future__ import annotations

from torchcrux.emit.inputs import factory
from torchcrux.passes import Draft
from torchcrux.passes.data import (
    MOST_NUMBERED,
    NegativeValues,
    NumberedValues,
    PlainValues,
    RoundValues,
)
from torchcrux.passes.inputs import ConstantValues, RandomValues
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


def test_a_literal_loses_digits():
    elements = (122.591796875, -0.00123456, INF, 3.0)
    x = Node("x", Op.INPUT, spec=Tensor((4,)), value=Value.LITERAL, elements=elements)
    y = Node("y", Op.FUNCTION, "torch.relu", (Ref("x"),), spec=Tensor((4,)))
    draft = Draft(Program((x, y), ("y",)), Context())
    edits = {str(edit): edit for edit in RoundValues().edits(draft)}
    assert [*edits] == ["x rounded to 1 digit", "x rounded to 2 digits", "x rounded to 3 digits"]
    least = edits["x rounded to 1 digit"].apply(draft)
    assert least.program.inputs[0].elements == (100.0, -0.001, INF, 3.0)
    assert not [*RoundValues().edits(least)]
    two = edits["x rounded to 2 digits"].apply(draft)
    assert two.program.inputs[0].elements == (120.0, -0.0012, INF, 3.0)
    assert [*map(str, RoundValues().edits(two))] == ["x rounded to 1 digit"]


def test_numbers_that_are_whole_by_dtype_keep_all_digits():
    spec = Tensor((2,), dtype="int64")
    x = Node("x", Op.INPUT, spec=spec, value=Value.LITERAL, elements=(1234, 5))
    y = Node("y", Op.FUNCTION, "torch.abs", (Ref("x"),), spec=spec)
    assert not [*RoundValues().edits(Draft(Program((x, y), ("y",)), Context()))]


def test_a_few_random_numbers_may_be_any():
    def edits(**spec):
        x = Node("x", Op.INPUT, spec=Tensor(**spec), value=Value.RANDOM)
        y = Node("y", Op.FUNCTION, "torch.relu", (Ref("x"),), spec=Tensor(**spec))
        draft = Draft(Program((x, y), ("y",)), Context())
        return [
            (str(edit), factory(edit.apply(draft).program.inputs[0]))
            for edit in NumberedValues().edits(draft)
        ]

    assert edits(shape=(3,)) == [("x numbered from 0", "torch.arange(3.0)")]
    assert edits(shape=(3,), dtype="int64", low=0, high=2)
    assert not edits(shape=(3,), dtype="int64", low=0, high=1)  # an index that is not there
    assert not edits(shape=(1,)) and not edits(shape=(MOST_NUMBERED + 1,))
    assert not edits(shape=(3,), dtype="complex64") and not edits(shape=(3,), form="{}.to_sparse()")


def test_random_numbers_may_be_minus_one_and_then_are_not_random_again():
    def edits(**spec):
        x = Node("x", Op.INPUT, spec=Tensor(**spec), value=Value.RANDOM)
        y = Node("y", Op.FUNCTION, "torch.relu", (Ref("x"),), spec=Tensor(**spec))
        draft = Draft(Program((x, y), ("y",)), Context())
        changed = [edit.apply(draft) for edit in NegativeValues().edits(draft)]
        assert not any([*RandomValues().edits(one)] for one in changed)
        return [factory(one.program.inputs[0]) for one in changed]

    assert edits(shape=(2,)) == ["torch.tensor([-1.0, -1.0])"]
    assert edits(shape=(2,), dtype="int64", low=-1, high=1) == ["torch.tensor([-1, -1])"]
    assert not edits(shape=(2,), dtype="int64", low=0, high=1)  # an index that is not there
    assert not edits(shape=(2, 2), strides=(1, 2))
    assert not edits(shape=(2,), dtype="bool") and not edits(shape=(0,))


def test_integers_that_are_all_another_number_may_be_plain():
    def edits(number, swapped):
        spec = Tensor((2,), "int64", low=number, high=number)
        x = Node("x", Op.INPUT, spec=spec, value=Value.RANDOM)
        y = Node("y", Op.FUNCTION, "torch.relu", (Ref("x"),), spec=spec)
        draft = Draft(Program((x, y), ("y",)), Context())
        return [*map(str, PlainValues(swapped).edits(draft))]

    assert (edits(-1, False), edits(-1, True)) == (["x all zeros"], ["x all ones"])
    assert not any(edits(number, swapped) for number in (0, 1) for swapped in (False, True))
