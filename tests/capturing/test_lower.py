"""From a graph to a program: what is said of each call, and what cannot be written."""

from __future__ import annotations

import operator
import re

import pytest
import torch
import torch.nn.functional as F
from torch import fx

from torchcrux.capturing.lower import lower
from torchcrux.capturing.spelling import Spelling
from torchcrux.emit.script import script
from torchcrux.program.checks import without_checks
from torchcrux.program.context import Context
from torchcrux.program.graph import to_graph_module
from torchcrux.program.ir import Body, Op, Ref
from torchcrux.program.serial import program_from_json, program_to_json
from torchcrux.program.spec import Tensor


def dynamo(function, *args):
    """The one graph that Dynamo makes of a function, lowered."""
    torch._dynamo.reset()
    found = []

    def keep(gm, inputs):
        found.append((gm, lower(gm, inputs).program))
        return gm

    torch.compile(function, backend=keep, fullgraph=True)(*args)
    return found[0]


def graph(*calls):
    """A graph of calls (op, target, args) whose result is that of the last; `X` is its input."""
    made = fx.Graph()
    nodes = [made.placeholder("x")]
    for op, target, args in calls:
        nodes.append(made.create_node(op, target, tuple(nodes[0] if a is X else a for a in args)))
    made.output((nodes[-1],))
    return fx.GraphModule(torch.nn.Module(), made)


X = object()


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (torch.relu, "torch.relu"),
        (F.gelu, "torch.nn.functional.gelu"),
        (torch._C._nn.linear, "torch.nn.functional.linear"),
        (torch._C._nn.pad, "torch.nn.functional.pad"),
        (torch._C._linalg.linalg_svd, "torch.linalg.svd"),
        (torch._chunk_cat, "torch._chunk_cat"),
        (operator.add, "operator.add"),
        (torch.Tensor.add_, "torch.Tensor.add_"),
        (torch.ops.aten.relu.default, "torch.ops.aten.relu.default"),
        (torch.ops.aten.add, "torch.ops.aten.add"),
        (torch.ops.higher_order.cond, "torch.ops.higher_order.cond"),
    ],
)
def test_the_name_of_a_function(function, name):
    assert Spelling().of(function) == name


def registered():
    @torch.library.custom_op("torchcrux_" + "lowering::mine", mutates_args=())
    def mine(x: torch.Tensor) -> torch.Tensor:
        return x + 1

    return {"mine": mine}


MINE = registered()  # neither a name nor a string of this module tells where


class OwnFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x + 1


def own(x):
    return x


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (MINE["mine"]._opoverload, r"torchcrux_lowering::mine, which is registered inside"),
        (own, r"own, which PyTorch does not provide"),
        (lambda x: x, r"lambda.*, which PyTorch does not provide"),
        (OwnFunction.apply, r"the function .*apply"),
        (torch.ops.higher_order.out_dtype, r"higher-order operator out_dtype, which has no text"),
        (torch.ops.higher_order.cond, r"higher-order operator cond in a form not known"),
    ],
)
def test_what_cannot_be_written_is_named(target, reason):
    program = lower(graph(("call_function", target, (X,))), [torch.ones(2)]).program
    (call,) = program.calls
    assert call.obstacle is not None
    assert re.search(reason, call.obstacle)
    assert call.args == (Ref("x"),)


def test_a_conjugated_input_is_said_to_be():
    x = torch.ones(2, dtype=torch.complex64).conj()
    (node,) = lower(graph(("call_function", torch.abs, (X,))), [x]).program.inputs
    assert isinstance(node.spec, Tensor)
    assert node.spec.conj


def test_bodies_hold_what_they_return():
    def loop(x):
        start = torch.tensor(0)
        return torch.while_loop(lambda i, x: i < 2, lambda i, x: (i + 1, x * 2), (start, x))

    gm, program = dynamo(loop, torch.ones(3))
    call = next(node for node in program.calls if node.target.endswith("while_loop"))
    test, body = call.args[:2]
    assert isinstance(test, Body)
    assert isinstance(body, Body)
    assert isinstance(test.result, Ref)
    assert isinstance(body.result, tuple)
    again = program_from_json(program_to_json(program))
    assert again == program
    assert [a.tolist() for a in to_graph_module(again)(torch.ones(3))] == [
        a.tolist() for a in gm(torch.ones(3))
    ]


def test_an_obstacle_in_a_body_is_one_of_its_operator():
    def function(x):
        return torch.cond(x.sum() > 0, lambda x: MINE["mine"](x), lambda x: x * 2, (x,)) + 1

    @MINE["mine"].register_fake
    def _(x):
        return torch.empty_like(x)

    _, program = dynamo(function, torch.ones(3))
    call = next(node for node in program.calls if node.target.endswith("cond"))
    assert "torchcrux_lowering::mine" in (call.obstacle or "")
    assert [node.name for node in program.calls if node.obstacle] == [call.name]


def test_a_level_of_vmap_is_one_call():
    def function(x, w):
        return torch.vmap(lambda a, b: (a.sin() @ b, w + a), in_dims=(1, None))(x, w)

    x, w = torch.ones(3, 4), torch.ones(3)
    gm, program = dynamo(function, x, w)
    (call, *items) = program.calls
    assert (call.op, call.target) == (Op.FUNCTION, "torch.vmap")
    assert [node.target for node in items] == ["operator.getitem"] * 2
    assert dict(call.kwargs)["in_dims"][0] == 1
    inputs = [x if "x" in node.name else w for node in program.inputs]
    for have, expected in zip(to_graph_module(program)(*inputs), gm(*inputs), strict=True):
        torch.testing.assert_close(have, expected)


def test_the_data_of_a_tensor_is_its_attribute():
    _, program = dynamo(lambda x: x.clone().data + 1, torch.ones(2))
    assert [node.target for node in program.calls] == ["clone", "builtins.getattr", "operator.add"]


def test_a_call_comes_from_the_users_line_whatever_modes_there_are():
    def function(x):
        return torch.relu(x)

    with torch.device("cpu"):
        program = dynamo(function, torch.ones(2))[1]
    assert program.calls[0].origin.code == "return torch.relu(x)"


def test_a_call_comes_from_the_line_of_the_user():
    layer = torch.nn.TransformerEncoderLayer(8, 2, dropout=0.0)

    def model(x):
        return layer(x)

    _, program = dynamo(model, torch.randn(2, 3, 8))
    assert {call.origin.code for call in program.calls} == {"return layer(x)"}


def test_sizes_that_nobody_uses_are_left_out():
    def function(x, y, p):
        def wide():
            return torch.ones(2, x.shape[0])

        def narrow():
            return torch.zeros(2, y.shape[0])

        return torch.cond(p, wide, narrow) * 2

    torch._dynamo.reset()
    programs = []

    def keep(gm, inputs):
        programs.append(lower(gm, inputs).program)
        return gm

    compiled = torch.compile(function, backend=keep, fullgraph=True, dynamic=True)
    compiled(torch.ones(3), torch.ones(4), torch.tensor(True))
    (program,) = programs
    bodies = [arg.program for call in program.calls for arg in call.args if isinstance(arg, Body)]
    told = [[call.target.rpartition(".")[2] for call in body.calls] for body in bodies]
    assert told == [["size", "ones"], ["size", "zeros"]]
    assert "torch.ops.aten._assert_scalar.default" in [call.target for call in program.calls]
    text = script(without_checks(program), Context(dynamic=True)).replace('"inductor"', '"eager"')
    assert re.search(r"torch.cond\(\w+, true_fn, false_fn, \(\w+, \w+\)\)", text)
    exec(compile(text, "repro.py", "exec"), {"__name__": "__main__"})
    assert [call.target.rpartition(".")[2] for call in without_checks(program).calls] == [
        "cond",
        "getitem",
        "mul",
    ]
