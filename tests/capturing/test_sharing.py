"""Memory that inputs share, as captured and as copied."""

import torch

from torchcrux.capturing.clones import clone_inputs, converted
from torchcrux.capturing.lower import lower
from torchcrux.oracle.numerics import upcast


def test_inputs_of_one_memory_say_where_they_lie():
    memory = torch.arange(12.0)
    graph = torch.fx.symbolic_trace(lambda x, y, z: x + y + z)
    inputs = [memory[2:6], memory[4:8], torch.ones(8)[4:]]
    x, y, z = (node.spec for node in lower(graph, inputs).program.inputs)
    assert (x.memory, x.offset) == ("x", 2)
    assert (y.memory, y.offset) == ("x", 4)
    assert (z.memory, z.offset) == ("", 4)


def test_what_is_computed_in_float64_shares_memory_as_well():
    memory = torch.arange(12.0)
    x, y, z = converted([memory[2:6], memory[4:8], torch.ones(2)], upcast)
    x.zero_()
    assert x.dtype is z.dtype is torch.float64
    assert y.tolist() == [0, 0, 6, 7]
    assert memory[2] == 2 and z.tolist() == [1, 1]


def test_a_view_of_an_input_stays_one():
    graph = torch.fx.symbolic_trace(lambda x, y, z: x + y + z)
    whole = torch.arange(12.0).clone()
    inputs = [whole[2:6], whole, whole[4:8]]
    for given in (inputs, clone_inputs(inputs)):
        specs = [node.spec for node in lower(graph, given).program.inputs]
        assert [spec.base for spec in specs] == [False, True, False]
        assert [spec.offset for spec in specs] == [2, 0, 4]
    copies = clone_inputs(inputs)
    assert copies[0]._base is copies[2]._base is copies[1]
    copies[1].zero_()
    assert copies[0].tolist() == [0] * 4 and whole[2] == 2


def test_views_of_what_is_no_input_are_of_no_base():
    graph = torch.fx.symbolic_trace(lambda x, y: x + y)
    memory = torch.arange(12.0)
    for inputs in ([memory[:4], memory[:4]], [memory.view(3, 4), memory[:4]]):
        assert not any(node.spec.base for node in lower(graph, inputs).program.inputs)
