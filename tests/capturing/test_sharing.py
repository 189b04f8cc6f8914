"""Memory that inputs share, as captured and as copied."""

import torch

from torchcrux.capturing.clones import converted
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
