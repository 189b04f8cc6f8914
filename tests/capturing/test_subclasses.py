"""Tensors made of others: described, stored, and made again by the text of a script."""

import pytest
import torch
import wrapping_classes
from torch._subclasses import FakeTensorMode
from torch.testing._internal.two_tensor import TwoTensor
from wrapping_classes import Amnesic, Forgetful, Rounding, Scaled

from torchcrux.capturing.accuracy import AccuracyChecker
from torchcrux.capturing.clones import clone_inputs
from torchcrux.capturing.lower import lower
from torchcrux.capturing.spelling import Spelling
from torchcrux.capturing.subclasses import definition, wrapped
from torchcrux.capturing.watched import CheckFailed
from torchcrux.emit.script import probed
from torchcrux.oracle.numerics import upcast
from torchcrux.passes import Draft
from torchcrux.passes.inputs import Constructors
from torchcrux.program.context import Context
from torchcrux.program.ir import defined
from torchcrux.program.serial import program_from_json, program_to_json


def scaled():
    data = torch.arange(6, dtype=torch.int8).view(2, 3)
    return Scaled(data, torch.ones(2, 1), Rounding.DOWN, (2, 3))


def lowered(*inputs):
    spelling = Spelling()
    found = lower(torch.fx.symbolic_trace(lambda x: x * 2), inputs, spelling)
    used = defined(found.program, found.program.nodes)
    return found, Context(operators=spelling.operators.used_by(used))


def test_a_script_makes_it_again():
    found, context = lowered(scaled())
    (node,) = found.program.inputs
    assert node.spec.form == (
        'Scaled.__tensor_unflatten__({{"data_": {data_}, "scale": {scale}}},'
        " (Rounding.DOWN, {0}, {{'dtype': torch.float32}}, ), {0}, {1})"
    )
    assert sorted(found.tensors) == ["x.data_", "x.scale"]
    assert program_from_json(program_to_json(found.program)) == found.program
    seen = {}
    text = probed(found.program, context, "probe")
    exec(compile(text, "script", "exec"), {"probe": seen.setdefault, "__file__": "script"})
    made = seen["x"]
    assert type(made).__qualname__ == "Scaled" and made.shape == (2, 3)
    assert made.data_.dtype is torch.int8 and made.sizes == (2, 3)
    edits = [edit.form for edit in Constructors().edits(Draft(found.program, context))]
    assert edits[0] == "Scaled({data_}, {scale})"
    assert edits[1] == "Scaled({data_}, {scale}, Rounding.DOWN, {0}, {{'dtype': torch.float32}})"


def test_what_is_registered_for_a_class_comes_along_and_nothing_else():
    text = definition(Scaled)
    assert "@implements(torch.ops.aten.neg.default)\ndef negated(x):" in text
    assert "HANDLED = {}" in text and "unrelated" not in text
    assert definition(TwoTensor) == "from torch.testing._internal.two_tensor import TwoTensor\n"
    assert wrapping_classes.UNUSED


def test_a_class_without_a_text_is_told():
    class Local(TwoTensor):
        pass

    local = Local(torch.ones(2), torch.ones(2))
    with pytest.raises(LookupError, match="class Local, which is defined inside of a function"):
        wrapped(local)
    found, _ = lowered(local)
    assert "defined inside of a function" in found.program.inputs[0].spec.lost
    assert [*found.tensors] == ["x"]


def test_two_classes_of_one_name_are_told(monkeypatch):
    operators = Spelling().operators
    operators.classes["TwoTensor"] = Scaled
    with pytest.raises(LookupError, match="one of several classes TwoTensor"):
        operators.learn_classes(TwoTensor(torch.ones(2), torch.ones(2)))


def test_copies_are_made_of_copies():
    x = TwoTensor(torch.ones(2), torch.zeros(2)).requires_grad_()
    (copy,) = clone_inputs([x])
    wide = upcast(x)
    assert copy.a is not x.a and copy.requires_grad and copy.is_leaf
    assert wide.b.dtype is torch.float64
    assert torch.equal(copy.a, x.a)


def test_outputs_are_compared_by_what_they_are_made_of():
    check = AccuracyChecker().of(torch.fx.symbolic_trace(lambda x: x + 1))
    x = TwoTensor(torch.ones(2), torch.zeros(2))
    check.call(lambda x: x + 1, [x])
    check = AccuracyChecker().of(torch.fx.symbolic_trace(lambda x: x + 1))
    with pytest.raises(CheckFailed) as raised:
        check.call(lambda x: TwoTensor(x.a + 1, x.b), [x])
    assert raised.value.failure.metric["index"] == 1


def test_what_a_class_forgets_on_its_way_back_is_kept():
    data, scale = torch.ones(2, 3, dtype=torch.int8), torch.ones(2, 1)
    x = Forgetful(data, scale, shift=3)
    (copy,) = clone_inputs([x])
    assert (type(copy), copy.shape, copy.shift) == (Forgetful, x.shape, 3)
    assert copy.data_ is not data and torch.equal(copy.data_, data)
    assert upcast(x).scale.dtype is torch.float64 and upcast(x).shift == 3
    assert wrapped(x).form == "Forgetful({data_}, {scale}, 3)"
    assert ".__tensor_unflatten__(" in wrapped(Forgetful(data, scale)).form
    lost = Amnesic(data, scale)
    lost.shift = 1
    with pytest.raises(LookupError, match="class Amnesic, which neither its __tensor_unflatten__"):
        wrapped(lost)


def test_what_is_around_fake_tensors_is_not_made_to_find_out():
    with FakeTensorMode():
        x = Forgetful(torch.ones(2, 3, dtype=torch.int8), torch.ones(2, 1), shift=3)
        assert ".__tensor_unflatten__(" in wrapped(x).form
