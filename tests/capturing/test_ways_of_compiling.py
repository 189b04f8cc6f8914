"""Whatever way a script compiles, what fails is caught with all that `torch.compile` was given."""

from __future__ import annotations

import pytest

from torchcrux.capturing.script import Ending
from torchcrux.oracle.failure import Kind
from torchcrux.program.spec import Tensor

pytestmark = pytest.mark.usefixtures("warm_start")

HEAD = """
import torch
COMPILE = "relu_compile_error_TESTING_ONLY"
RUN = "relu_runtime_error_TESTING_ONLY"

class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 3)

    def forward(self, x):
        return torch.relu(self.linear(x)).sin()

x = torch.ones(2, 4)
"""

WAYS = {
    "torch.compile(model)": "torch.compile(Model(), backend=COMPILE)(x)",
    "model.compile()": "m = Model(); m.compile(backend=COMPILE); m(x)",
    "decorator": """
@torch.compile(backend=COMPILE)
def f(x):
    return torch.relu(x)
f(x)
""",
    "method": """
class Trainer:
    def __init__(self):
        self.model = Model()
        self.step = torch.compile(self.step, backend=COMPILE)
    def step(self, x):
        return self.model(x)
Trainer().step(x)
""",
    "lambda": "torch.compile(lambda x: torch.relu(x), backend=COMPILE)(x)",
    "dynamo.optimize": "import torch._dynamo; torch._dynamo.optimize(COMPILE)(Model())(x)",
}

LATE = """
def backend(gm, inputs):
    def run(*args):
        if args[-1].max() > 10:
            raise ValueError("too large")
        return gm.forward(*args)
    return run
f = torch.compile(lambda x: x.sin() + 1, backend=backend, dynamic=True)
f(torch.ones(3)); f(torch.ones(4)); f(torch.full((6,), 12.0))
"""
IN_BACKWARD = """
from functorch.compile import make_boxed_func
from torch._dynamo.backends.common import aot_autograd
def bad(gm, inputs): raise RuntimeError("no backward for you")
def good(gm, inputs): return make_boxed_func(gm.forward)
backend = aot_autograd(fw_compiler=good, bw_compiler=bad)
first = torch.compile(lambda x: x.sin(), backend="aot_eager")
second = torch.compile(lambda x: torch.tanh(x) * 2, backend=backend)
leaf = torch.full((3,), 0.5, requires_grad=True)
second(first(leaf)).sum().backward()
"""

ONE_BY_ONE = """
for way in {ways!r}:
    try:
        exec(way)
    except Exception as error:
        print(type(error))
"""


@pytest.fixture(scope="module")
def ways(shared_scripts):
    """What was caught in one script that compiles in each of these ways."""
    ways = [*WAYS.values(), LATE, IN_BACKWARD]
    found = shared_scripts.run(HEAD + ONE_BY_ONE.format(ways=ways))
    assert (found.ending, found.status, found.broken) == (Ending.CAUGHT, 0, ()), found
    assert found.swallowed
    names = [*WAYS, "late", "in backward"]
    return dict(zip(names, [found.case, *found.others], strict=True))


@pytest.fixture(scope="module")
def ended(shared_scripts):
    """A script that a failure has ended."""
    return shared_scripts.run(HEAD + WAYS["torch.compile(model)"])


@pytest.mark.parametrize("way", WAYS)
def test_a_compile_error_is_caught(ways, way):
    case = ways[way]
    assert case.failure.kind is Kind.COMPILE_ERROR
    assert case.failure.exception == "ReluCompileError"
    assert "torch.relu" in [node.target for node in case.program.calls]
    assert case.context.backend.name == "relu_compile_error_TESTING_ONLY"
    assert case.context.backend.source == ""
    assert {n.name for n in case.program.inputs} == case.stored


def test_what_ends_the_script_is_not_swallowed(ended):
    assert (ended.ending, ended.status, ended.broken) == (Ending.CAUGHT, 1, ()), ended
    assert not ended.swallowed


def test_the_arguments_of_compile_come_along(scripts):
    found = scripts.run(
        HEAD
        + """
import torch._inductor.config as config
config.cpp.inject_relu_bug_TESTING_ONLY = "compile_error"
torch._dynamo.config.capture_scalar_outputs = True
torch.compile(torch.relu, dynamic=True, fullgraph=True, options={"max_fusion_size": 7})(x)
"""
    )
    context = found.case.context
    assert context.backend.name == "inductor"
    assert (context.dynamic, context.fullgraph, context.mode) == (True, True, None)
    assert context.options == (("max_fusion_size", 7),)
    assert context.config == (
        "torch._dynamo.config.capture_scalar_outputs = True",
        'torch._inductor.config.cpp.inject_relu_bug_TESTING_ONLY = "compile_error"',
    )
    assert any(name.endswith("CppCompileError") for name, _ in found.case.failure.exceptions)


def test_a_mode_stays_a_mode(scripts):
    found = scripts.run(
        HEAD
        + """
torch._dynamo.config.recompile_limit = 11
def backend(gm, inputs, *, mode): raise RuntimeError("no " + mode)
try:
    torch.compile(torch.relu, backend=backend, mode="some-mode")(x)
except Exception as e: pass
import torch._inductor.config as config
config.cpp.inject_relu_bug_TESTING_ONLY = "compile_error"
torch.compile(torch.relu, mode="max-autotune-no-cudagraphs")(x)
"""
    )
    assert found.case.context.mode == "max-autotune-no-cudagraphs"
    assert found.case.context.options == ()
    (other,) = found.others
    assert other.context.mode == "some-mode"
    assert "torch._dynamo.config.recompile_limit = 11" in other.context.config


def test_an_unremarkable_context_is_empty(ended):
    case, context = ended.case, ended.case.context
    assert (context.mode, context.options, context.dynamic, context.fullgraph) == (
        None,
        (),
        None,
        False,
    )
    assert (context.grad, context.inference, context.backward) == (True, False, False)
    assert context.around == context.setup == context.config == case.notes == ()


def test_the_failing_one_of_several_graphs_is_caught_at_the_call_at_which_it_fails(scripts):
    found = scripts.run(
        HEAD
        + """
@torch.compile(backend=RUN)
def fine(x):
    return x.sin()

@torch.compile(backend=RUN)
def broken(x, flag):
    y = x.cos() + 1
    torch._dynamo.graph_break()
    y = y.exp()
    return torch.relu(y).tan() if flag else y

for n in range(3):
    fine(x)
    broken(torch.ones(5 + n), flag=n == 2)
"""
    )
    case = found.case
    assert case.failure.kind is Kind.RUNTIME_ERROR
    assert [node.target for node in case.program.calls if node.op.value == "function"][:1] != [
        "torch.cos"
    ]
    assert "torch.relu" in [node.target for node in case.program.calls]
    assert found.graphs >= 4
    given = case.program.inputs[-1]
    assert isinstance(given.spec, Tensor)
    assert given.spec.shape == (7,)
    assert case.tensors()[given.name].shape == (7,)


def test_a_run_that_fails_late_is_stored_with_the_arguments_of_that_call(ways):
    case = ways["late"]
    tensor_input = case.program.inputs[-1]
    assert case.failure.exception == "ValueError"
    assert tensor_input.spec.shape == (6,)
    assert any(tensor_input.spec.symbols)
    assert case.tensors()[tensor_input.name].tolist() == [12.0] * 6
    numbers = [n.spec.value for n in case.program.inputs[:-1]]
    assert numbers in ([], [6])


def test_backward_errors_belong_to_their_graph(ways):
    case = ways["in backward"]
    assert (case.failure.kind, case.failure.stage.value) == (Kind.COMPILE_ERROR, "backward")
    assert case.context.backward
    assert [node.target for node in case.program.calls] == ["torch.tanh", "operator.mul"]
    assert case.failure.message == "no backward for you"


def test_ambient_modes(scripts):
    found = scripts.run(
        HEAD
        + """
torch.set_default_dtype(torch.float64)
torch.use_deterministic_algorithms(True, warn_only=True)
torch.set_float32_matmul_precision("high")
def f(x):
    return torch.relu(x)
def attempt():
    try:
        torch.compile(f, backend=COMPILE)(x)
    except torch._dynamo.exc.BackendCompilerFailed:
        torch._dynamo.reset()
with torch.no_grad(), torch.autocast("cpu", dtype=torch.float16):
    attempt()
with torch.inference_mode():
    attempt()
attempt()
"""
    )
    assert found.ending is Ending.CAUGHT
    assert found.swallowed
    assert found.status == 0
    no_grad, inference, plain = (c.context for c in (found.case, *found.others))
    assert (no_grad.grad, no_grad.inference) == (False, False)
    assert no_grad.around == ('torch.autocast("cpu", dtype=torch.float16)',)
    assert (inference.grad, inference.inference, inference.around) == (False, True, ())
    assert (plain.grad, plain.inference, plain.around) == (True, False, ())
    assert plain.setup == (
        "torch.set_default_dtype(torch.float64)",
        "torch.use_deterministic_algorithms(True, warn_only=True)",
        'torch.set_float32_matmul_precision("high")',
    )


def test_an_error_of_dynamo_has_no_program(scripts):
    found = scripts.run(
        """
import torch
@torch.compile(fullgraph=True, backend="eager")
def f(x):
    torch._dynamo.graph_break()
    return x + 1
f(torch.ones(3))
"""
    )
    assert found.case.failure.kind is Kind.FRONTEND
    assert found.case.program is None
    assert found.case.failure.exception == "Unsupported"


def test_what_dynamo_recovers_from_is_no_failure(scripts):
    found = scripts.run(
        """
import torch
@torch.compile(backend="eager")
def f(x):
    y = x.sin()
    print("a graph break")
    if y.sum() > 0:
        y = y + x.nonzero().shape[0]
    return y * int(x.sum().item())
f(torch.ones(3)); f(torch.ones(4)); f(torch.ones(5))
"""
    )
    assert found.ending is Ending.PASSED, found
    assert found.graphs > 1


def test_aliasing_inputs_are_noted(scripts):
    case = scripts.run(
        HEAD
        + """
base = torch.arange(6.0)
torch.compile(lambda a, b, c: torch.relu(a[:2] + b[:2] + c[:2]), backend=COMPILE)(
    base[:3], base[2:], torch.ones(3))
"""
    ).case
    (group,) = case.aliases
    a, b, _ = (node.name for node in case.program.inputs)
    assert set(group) == {a, b}
