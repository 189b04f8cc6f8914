"""The first value that a compiler gets wrong is found in one run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from torchcrux.oracle.divergence import MOST_ELEMENTS, first_difference, with_all_values
from torchcrux.passes.base import Draft
from torchcrux.program.context import Context
from torchcrux.program.ir import Node, Op, Program, Ref
from torchcrux.program.spec import Sequence, Tensor

SCRIPT = """
import torch

def f(x):
    a = torch.sin(x)
    b = torch.relu(a)
    c = torch.exp(b)
    return a, b, c

def backend(gm, inputs):
    def run(*args):
        a, b, c = gm(*args)
        return {result}
    return run

x = torch.linspace(-1, 1, 8)
actual = torch.compile(f, backend=backend)(x)
expected = f(x)
torch.testing.assert_close(actual, expected)
"""


@pytest.mark.parametrize(
    ("result", "index"),
    [("a, b + 1, (b + 1).exp()", 1), ("a, b, c * 2", 2), ("a, b, c", None), ("a, b, 1 / 0", None)],
)
def test_the_first_value_that_is_wrong(tmp_path, monkeypatch, result, index):
    monkeypatch.chdir(tmp_path)
    assert first_difference({"text": SCRIPT.format(result=result)}) == {"index": index}


def draft(size):
    nodes = (
        Node("x", Op.INPUT, spec=Tensor((size,))),
        Node("pair", Op.FUNCTION, "torch.max", (Ref("x"), 0), spec=Sequence((Tensor(()),) * 2)),
        Node("out", Op.FUNCTION, "torch.sin", (Ref("x"),), spec=Tensor((size,))),
        Node("end", Op.FUNCTION, "torch.cos", (Ref("out"),), spec=Tensor((size,))),
    )
    return Draft(Program(nodes, ("end",)), Context())


def test_all_tensors_are_returned_unless_there_is_no_room_for_them():
    whole, names = with_all_values(draft(4))
    assert whole.program.outputs == names == ("out", "end")
    assert with_all_values(draft(MOST_ELEMENTS)) is None


def test_what_may_be_written_to_is_copied_at_once():
    one = draft(4)
    end = replace(one.program.by_name["end"], target="torch.cos_")
    whole, names = with_all_values(one.with_nodes(end=end))
    assert names == ("out", "end")
    assert [node.name for node in whole.program.calls] == [
        *("pair", "out", "out_as_it_was", "end", "end_as_it_was")
    ]
    assert whole.program.outputs == ("out_as_it_was", "end_as_it_was")
