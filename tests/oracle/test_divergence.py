"""The first value that a compiler gets wrong is found in one run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from torchcrux.emit.script import script
from torchcrux.oracle.divergence import (
    BEGINNING,
    LARGE,
    MOST_ELEMENTS,
    begun,
    first_difference,
    observed,
)
from torchcrux.passes.base import Draft
from torchcrux.program.context import Backend, Context
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
    whole, suspects = observed(draft(4))
    assert whole.program.outputs == ("out", "end")
    assert suspects == (("out",), ("end",))
    assert observed(draft(MOST_ELEMENTS)) is None


def test_how_a_large_program_begins_is_looked_at_first():
    """And of the rest only what follows is shown."""
    spec, names = Tensor((4,)), [f"v{i}" for i in range(LARGE)]
    calls = [
        Node(
            name,
            Op.FUNCTION,
            "torch.add",
            (Ref(last), Ref("y" if name == "v9" else last)),
            spec=spec,
        )
        for last, name in zip(["x", *names], names)
    ]
    inputs = (Node("x", Op.INPUT, spec=spec), Node("y", Op.INPUT, spec=spec))
    large = Draft(Program((*inputs, *calls), (names[-1],)), Context())
    begins, goes_on = begun(large), observed(large)
    first = LARGE // BEGINNING
    assert begins[0].program.outputs == tuple(names[:first])
    assert [node.name for node in begins[0].program.nodes] == ["x", *names[:first]]
    assert goes_on[0].program.outputs == tuple(names[first:])
    assert goes_on[0].program.nodes == (*inputs, *calls)
    assert (*begins[1], *goes_on[1]) == tuple((name,) for name in names)


def test_what_may_be_written_to_is_copied_at_once():
    one = draft(4)
    end = replace(one.program.by_name["end"], target="torch.cos_")
    whole, suspects = observed(one.with_nodes(end=end))
    assert suspects == (("out",), ("end",))
    assert [node.name for node in whole.program.calls] == [
        *("pair", "out", "out_as_it_was", "end", "end_as_it_was")
    ]
    assert whole.program.outputs == ("out_as_it_was", "end_as_it_was")


WRONG_GRADIENT = """
import torch

class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad * 2

class Wrong(torch.fx.Interpreter):
    def call_function(self, target, args, kwargs):
        if target is torch.{wrong}:
            args = (Doubled.apply(args[0]), *args[1:])
        return super().call_function(target, args, kwargs)

def backend(gm, inputs):
    return Wrong(gm).run
"""


def trained(size=4):
    """``x -> a -> (b, c) -> out``, and `w`, whose gradient is that of a product."""
    spec = Tensor((size,), requires_grad=True)
    inner = replace(spec, is_leaf=False)

    def call(name, target, *operands):
        return Node(name, Op.FUNCTION, target, tuple(map(Ref, operands)), spec=inner)

    nodes = (
        Node("x", Op.INPUT, spec=spec),
        Node("w", Op.INPUT, spec=spec),
        call("a", "torch.sin", "x"),
        call("b", "torch.tanh", "a"),
        call("c", "torch.cos", "a"),
        call("d", "torch.mul", "b", "w"),
        call("out", "torch.add", "c", "d"),
    )
    return Draft(Program(nodes, ("out",)), Context(backward=True))


@pytest.mark.parametrize(
    ("wrong", "suspects"),
    [
        ("tanh", ("c", "b")),  # the gradient of `a` is wrong, and two calls use it
        ("sin", ("a",)),
        ("mul", ("d",)),
        ("add", ("out",)),
        ("exp", None),
    ],
)
def test_what_uses_the_last_value_whose_gradient_is_wrong(tmp_path, monkeypatch, wrong, suspects):
    monkeypatch.chdir(tmp_path)
    draft = trained()
    backend = Backend("backend", source=WRONG_GRADIENT.replace("{wrong}", wrong))
    whole, shown = observed(replace(draft, context=replace(draft.context, backend=backend)))
    text = script(whole.program, whole.context, accuracy=True)
    index = first_difference({"text": text, "backward": True})["index"]
    assert (None if index is None else shown[index]) == suspects


def test_gradients_are_not_shown_where_values_are_written_to():
    draft = trained()
    written = replace(draft.program.by_name["b"], target="torch.tanh_")
    assert observed(draft.with_nodes(b=written)) is None


def test_what_has_no_gradient_to_show_is_passed_by():
    draft = trained()
    pair = replace(draft.program.by_name["b"], spec=Sequence((Tensor((4,)),) * 2))
    _, shown = observed(draft.with_nodes(b=pair))
    assert shown[-3:] == (("c", "b", "d"), ("a",), ("d",))
