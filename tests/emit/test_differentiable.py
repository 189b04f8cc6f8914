"""What of a program has a gradient, what is written to, and the lines that follow from it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from torchcrux.emit.flow import differentiable, written
from torchcrux.emit.inputs import Unmakeable
from torchcrux.emit.script import script
from torchcrux.program.context import Context
from torchcrux.program.ir import Node, Op, Program, Ref, Region
from torchcrux.program.spec import Sequence, Tensor

GRAD = Tensor((2, 3), requires_grad=True)
PLAIN = Tensor((2, 3))
X, W = Ref("x"), Ref("w")


def given(name, spec=PLAIN):
    return Node(name, Op.INPUT, spec=spec)


def call(name, target, *args, spec=GRAD, op=Op.FUNCTION, **kwargs):
    return Node(name, op, target, args, tuple(kwargs.items()), spec=spec)


def method(name, target, *args, spec=GRAD):
    return call(name, target, *args, spec=spec, op=Op.METHOD)


def program(*nodes, returns):
    return Program(nodes, tuple(returns.split()))


PRODUCT = program(given("x"), given("w", GRAD), call("y", "torch.mul", X, W), returns="y")
TWO = program(
    given("x", GRAD),
    given("w", GRAD),
    call("y", "torch.sin", X),
    call("i", "torch.argmax", X, spec=Tensor((), "int64")),
    call("z", "torch.mul", X, W, spec=replace(GRAD, shape=())),
    returns="y i z",
)


def body(program, accuracy=True, **context):
    text = script(program, Context(backward=True, **context), accuracy=accuracy)
    compile(text, "repro.py", "exec")
    lines = text.splitlines()
    return lines[next(i for i, line in enumerate(lines) if line.startswith("backend =")) + 1 :]


def test_gradients_of_one_output_are_compared_in_two_lines():
    assert body(PRODUCT) == [
        "expected = torch.autograd.grad(f(x, weight).sum(), weight)".replace("weight", "y"),
        "actual = torch.autograd.grad(torch.compile(f, backend=backend)(x, y).sum(), y)",
        "torch.testing.assert_close(actual, expected)",
    ]


def test_random_gradients_of_the_outputs():
    lines = body(TWO, weighted=True)
    assert lines[:3] == [
        "grad = (torch.randn(2, 3), torch.randn(()))",
        "out = f(x, y)",
        "expected = torch.autograd.grad((out[0], out[2]), (x, y), grad)",
    ]
    assert "torch.manual_seed(0)" in script(TWO, Context(backward=True, weighted=True))


def test_only_outputs_with_a_gradient_are_summed_and_scalars_are_not():
    assert body(TWO, accuracy=False)[-1] == "(out[0].sum() + out[2]).backward()"
    assert body(TWO, accuracy=False, weighted=True)[-1] == (
        "torch.autograd.backward((out[0], out[2]), grad)"
    )
    out = "torch.compile(f, backend=backend)(x, y)"
    assert body(PRODUCT, accuracy=False) == [f"{out}.sum().backward()"]
    assert body(PRODUCT, accuracy=False, weighted=True)[-1] == f"{out}.backward(grad)"


def test_the_backward_pass_is_outside_of_autocast():
    lines = body(PRODUCT, around=('torch.autocast("cpu")',))
    assert lines[:3] == [
        'with torch.autocast("cpu"):',
        "    out = f(x, y)",
        "expected = torch.autograd.grad(out.sum(), y)",
    ]


def test_an_input_that_no_output_depends_on_has_a_gradient_of_zeros():
    detached = program(
        given("x", GRAD),
        given("w", GRAD),
        method("d", "detach", X, spec=PLAIN),
        call("y", "torch.mul", Ref("d"), W),
        returns="y",
    )
    assert differentiable(detached).unused == {"x"}
    assert "materialize_grads=True" in "".join(body(detached))
    assert not differentiable(PRODUCT).unused


def test_a_program_without_gradients_cannot_run_backward():
    nothing = program(given("x"), call("y", "torch.sin", X, spec=PLAIN), returns="y")
    with pytest.raises(Unmakeable):
        script(nothing, Context(backward=True))
    region = Region("torch.no_grad()", 1)
    quiet = program(
        given("x", GRAD),
        replace(call("y", "torch.sin", X, spec=PLAIN), regions=(region,)),
        returns="y",
    )
    with pytest.raises(Unmakeable):
        script(quiet, Context(backward=True))


def test_a_gradient_flows_through_memory():
    assigned = program(
        given("x", GRAD),
        call("y", "torch.zeros_like", X, spec=PLAIN),
        method("v", "view", Ref("y"), 6, spec=Tensor((6,))),
        call("s", "operator.setitem", Ref("v"), 0, X, spec=None),
        returns="y",
    )
    found = differentiable(assigned)
    assert [leaf.path for leaf in found.outputs] == [""]
    assert not found.unused


def test_what_is_written_through_a_view_is_written():
    through = program(
        given("x"),
        given("w"),
        given("b", Sequence((PLAIN, PLAIN))),
        method("v", "view", X, 6, spec=Tensor((6,))),
        method("s", "mul_", Ref("v"), 2, spec=Tensor((6,))),
        call("y", "torch.relu", W, inplace=False, spec=PLAIN),
        method("r", "relu_", Ref("y"), spec=PLAIN),
        call("c", "torch._foreach_add_", [Ref("b")], 1, spec=None),
        returns="r",
    )
    assert written(through) == {"x", "b"}
    lines = script(through, Context(changes=True), accuracy=True).splitlines()
    inputs = "inputs = [x.clone(), y, [item.clone() for item in xs]]"
    assert lines[-5:] == [
        inputs,
        "expected = f(*inputs), inputs",
        inputs,
        "actual = torch.compile(f, backend=backend)(*inputs), inputs",
        "torch.testing.assert_close(actual, expected)",
    ]


def test_a_leaf_that_requires_grad_is_written_to_as_a_copy():
    inplace = program(given("x", GRAD), method("y", "relu_", X), returns="y")
    assert body(inplace, accuracy=False)[0] == (
        "torch.compile(f, backend=backend)(x.clone()).sum().backward()"
    )
    assert "x.clone()" not in script(inplace, Context(grad=False))


def test_batch_norm_writes_into_its_statistics_and_returns_something_else():
    norm = program(
        given("x", GRAD),
        given("mean"),
        given("var"),
        call("y", "torch.nn.functional.batch_norm", X, Ref("mean"), Ref("var"), training=True),
        method("z", "relu_", Ref("y")),
        returns="z",
    )
    assert written(norm) == {"mean", "var"}
