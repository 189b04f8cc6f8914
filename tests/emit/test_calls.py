"""A call is printed as a person would write it."""

from __future__ import annotations

import pytest

from torchcrux.emit.calls import expression, rebinds, statement
from torchcrux.program.ir import Atom, Node, Op, Ref, Slice

NAMES = {"a": "x", "b": "y"}
A, B = Ref("a"), Ref("b")


def call(target, *args, op=Op.FUNCTION, **kwargs):
    return Node("n", op, target, args, tuple(kwargs.items()))


@pytest.mark.parametrize(
    ("node", "text"),
    [
        (call("torch.relu", A), "torch.relu(x)"),
        (
            call("torch.nn.functional.gelu", A, approximate="tanh"),
            'F.gelu(x, approximate="tanh")',
        ),
        (call("view", A, 2, -1, op=Op.METHOD), "x.view(2, -1)"),
        (call("operator.add", A, 1), "x + 1"),
        (call("operator.add", 1.5, A), "1.5 + x"),
        (call("operator.pow", -2, A), "(-2) ** x"),
        (call("operator.matmul", A, B), "x @ y"),
        (call("operator.neg", A), "-x"),
        (call("operator.getitem", A, 0), "x[0]"),
        (call("operator.getitem", A, (Atom("..."), Slice(None, None, 2))), "x[..., ::2]"),
        (call("operator.getitem", A, Slice(1, None, None)), "x[1:]"),
        (call("operator.getitem", A, (None,)), "x[None,]"),
        (call("operator.getitem", A, (B, Slice(None, 3, None))), "x[y, :3]"),
        (call("builtins.getattr", A, "T"), "x.T"),
        (call("builtins.getattr", A), "getattr(x)"),  # what an edit may leave; eager refuses it
        (call("operator.getitem", A), "operator.getitem(x)"),
        (call("torch.cat", [A, B], dim=-1), "torch.cat([x, y], dim=-1)"),
        (call("to", A, Atom("torch.float16"), op=Op.METHOD), "x.to(torch.float16)"),
        (call("torch.full", (2, 2), float("-inf")), 'torch.full((2, 2), float("-inf"))'),
        (call("torch.full", (2,), float("nan")), 'torch.full((2,), float("nan"))'),
        (call("torch.sum", A, dim=(1,)), "torch.sum(x, dim=(1,))"),
        (call("torch.einsum", 'i"j', A), "torch.einsum('i\"j', x)"),
        (call("torch.ops.aten.relu.default", A), "torch.ops.aten.relu.default(x)"),
        (call("builtins.max", A, 2), "max(x, 2)"),
    ],
)
def test_expression(node, text):
    assert expression(node, NAMES) == text
    compile(text, "<test>", "eval")


@pytest.mark.parametrize(
    ("node", "text"),
    [
        (call("operator.setitem", A, (Slice(None, None, None), 0), B), "x[:, 0] = y"),
        (call("operator.iadd", A, B), "x += y"),
        (call("operator.add", A, B), None),
        (call("torch.relu", A), None),
    ],
)
def test_statement(node, text):
    assert statement(node, NAMES) == text


def test_an_augmented_assignment_names_its_operand():
    assert rebinds(call("operator.imul", A, 2))
    assert not rebinds(call("operator.mul", A, 2))
