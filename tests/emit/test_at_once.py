"""What is used once stands where it is used: inputs in the call, a module by its whole name."""

from __future__ import annotations

import pytest

from torchcrux.emit.at_once import handed_over
from torchcrux.emit.imports import spelled_out
from torchcrux.emit.script import script
from torchcrux.oracle.cost import SECONDS, Bound
from torchcrux.program.context import Backend, Context
from torchcrux.program.ir import Node, Op, Program, Ref, Value
from torchcrux.program.spec import Tensor

NODES = (
    Node("a", Op.INPUT, spec=Tensor((1,)), value=Value.ONES),
    Node("b", Op.INPUT, spec=Tensor((2,), requires_grad=True), value=Value.ZEROS),
    Node("c", Op.FUNCTION, "torch.nn.functional.relu", (Ref("a"),), spec=Tensor((1,))),
    Node(
        "d",
        Op.FUNCTION,
        "operator.mul",
        (Ref("c"), Ref("b")),
        spec=Tensor((2,), requires_grad=True),
    ),
)
PROGRAM = Program(NODES, ("d",))
CALL = "torch.compile(f, backend=backend)(torch.ones(1), torch.zeros(2, requires_grad=True))"


def lines(*, context=None, **options):
    return script(PROGRAM, context or Context(), **options).splitlines()


def test_the_whole_script():
    assert lines(note="Error: no") == [
        "import torch",
        "",
        "",
        "def f(x, y):",
        "    return torch.nn.functional.relu(x) * y",
        "",
        "",
        'backend = torch.os.environ.get("TORCH_COMPILE_BACKEND", "inductor")',
        CALL,
        "# Error: no",
    ]


@pytest.mark.parametrize(
    ("context", "options"),
    [
        (Context(), {"accuracy": True}),  # they are used twice
        (Context(calls=2), {}),
        (Context(compilations=2), {}),
        (Context(), {"times": 3}),
        (Context(backward=True), {"accuracy": True}),  # it is asked for their gradients
        (Context(backward=True, weighted=True), {}),  # these are made in between
        (Context(grad=False), {}),  # they would be made in another mode
        (Context(setup=("torch.set_default_dtype(torch.float64)",)), {}),  # or of another dtype
        (Context(around=("torch.autocast('cpu')",)), {}),
        (Context(), {"bound": Bound(SECONDS, 2.0)}),  # what it takes to make them is not measured
    ],
)
def test_inputs_keep_their_lines_where_it_matters(context, options):
    assert "x = torch.ones(1)" in lines(context=context, **options)


def test_inputs_of_a_long_call_keep_their_lines():
    made = [f"x{i} = torch.ones(1, 2, 3)" for i in range(4)]
    names = [f"x{i}" for i in range(4)]
    call = f"torch.compile(f)({', '.join(names)})"
    assert handed_over(names, ["seed()", *made], [call]) == (["seed()", *made], [call])
    left, (call,) = handed_over(names[:2], ["seed()", *made[:2]], ["torch.compile(f)(x0, x1)"])
    assert left == ["seed()"]
    assert call == "torch.compile(f)(torch.ones(1, 2, 3), torch.ones(1, 2, 3))"


def test_a_module_used_twice_is_imported():
    assert spelled_out(["F.relu(x)", "y.F.relu"]) == ["torch.nn.functional.relu(x)", "y.F.relu"]
    assert spelled_out(["F.relu(F.relu(x))"]) == ["F.relu(F.relu(x))"]
    assert spelled_out(["F.relu(x)", "F.relu(y)"]) == ["F.relu(x)", "F.relu(y)"]
    long = f"F.relu({'x' * 70})"
    assert spelled_out([long]) == [long]


def test_environment_variables_and_settings_need_one_import():
    context = Context(
        Backend("mine"),
        environment=(("A", "1"),),
        config=("torch._inductor.config.cpp_wrapper = True",),
    )
    text = lines(context=context)
    assert [line for line in text if "import" in line] == ["import os", "import torch"]
    assert 'backend = os.environ.get("TORCH_COMPILE_BACKEND", "mine")' in text
    other = Context(config=("torch._functorch.config.donated_buffer = False",))
    assert "import torch._functorch.config" in lines(context=other)  # it is not there by itself


def test_an_output_that_is_written_to_needs_no_name():
    assert (
        lines(context=Context(writes=True))[-1] == "torch.compile(f, backend=backend)(x, y).mul_(1)"
    )


def test_inputs_of_a_backward_whose_gradients_nobody_asks_for():
    short = Node("a", Op.INPUT, spec=Tensor((1,), requires_grad=True), value=Value.ONES)
    out = Node("out", Op.FUNCTION, "torch.sin", (Ref("a"),), spec=short.spec)
    text = script(Program((short, out), ("out",)), Context(backward=True))
    call = "torch.compile(f, backend=backend)(torch.ones(1, requires_grad=True))"
    assert text.endswith(f"\n{call}.sum().backward()\n")

    also = Node("also", Op.FUNCTION, "torch.cos", (Ref("a"),), spec=short.spec)
    text = script(Program((short, out, also), ("out", "also")), Context(backward=True))
    assert text.endswith(f"\nout = {call}\n(out[0].sum() + out[1].sum()).backward()\n")


@pytest.mark.parametrize(
    ("source", "blank"),
    [("RATE = 3\n\n\ndef b(g, i):\n    return g", 1), ("def b(g, i):\n    return g", 2)],
)
def test_only_a_definition_is_two_lines_below_the_imports(source, blank):
    text = lines(context=Context(backend=Backend("b", source=source)))
    assert text[: 2 + blank] == ["import torch", *[""] * blank, source.splitlines()[0]]


def test_defaults_are_set_after_the_inputs_are_made():
    setup = ("torch.use_deterministic_algorithms(True)", 'torch.set_default_device("meta")')
    written = lines(context=Context(setup=setup))
    order = [setup[0], "def f(x, y):", "x = torch.ones(1)", setup[1]]
    places = [written.index(line) for line in order]
    assert places == sorted(places)
    assert written[places[-1] + 1].startswith("backend = ")
