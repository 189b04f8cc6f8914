"""`reduce_graph` with any predicate, in process."""

from __future__ import annotations

import pytest
import torch
from torch import fx

import torchcrux
from torchcrux.graphs import DoesNotFail


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(4, 4))

    def forward(self, x):
        for _ in range(20):
            x = torch.sin(x)
        y = torch.relu(x @ self.weight)
        for _ in range(20):
            y = torch.cos(y)
        return torch.softmax(y, -1)


def targets(graph):
    return [node.target for node in graph.graph.nodes if node.op == "call_function"]


def test_two_operations_far_apart_are_left():
    gm = fx.symbolic_trace(Net())

    def fails(graph, inputs):
        graph(*inputs)
        return {torch.relu, torch.softmax} <= set(targets(graph))

    graph, inputs = torchcrux.reduce_graph(gm, [torch.randn(4, 4)], fails)
    assert targets(graph) == [torch.relu, torch.softmax]
    assert len(inputs) == 2


def test_severed_values_are_those_of_eager():
    gm = fx.symbolic_trace(Net())
    x = torch.randn(4, 4)
    expected = x
    for _ in range(20):
        expected = torch.sin(expected)
    expected = expected @ torch.ones(4, 4)

    def fails(graph, inputs):
        return torch.relu in targets(graph)

    _, (value,) = torchcrux.reduce_graph(gm, [x], fails)
    torch.testing.assert_close(value, expected)


def test_a_predicate_may_look_at_values_and_change_its_inputs():
    gm = fx.symbolic_trace(Net())

    def fails(graph, inputs):
        (result, *_) = graph(*inputs)
        for value in inputs:
            value.data.zero_()
        return bool(result.sum() == 4) and torch.softmax in targets(graph)

    graph, _ = torchcrux.reduce_graph(gm, [torch.randn(4, 4)], fails)
    assert targets(graph) == [torch.softmax]


def test_a_graph_that_does_not_fail_is_refused():
    with pytest.raises(DoesNotFail):
        torchcrux.reduce_graph(fx.symbolic_trace(Net()), [torch.randn(4, 4)], lambda *_: False)
