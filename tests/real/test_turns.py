"""What fails only when it is called, or compiled, once more keeps its shortest sequence."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.real

HEAD = """
import torch

kernels = []

def backend(gm, inputs):
    state = []
    if any("relu" in str(node.target) for node in gm.graph.nodes):
        kernels.append(gm)
        {compiling}
    def run(*args):
        state.append(args)
        return {running}
    return run

def f(x):
    return torch.relu(x.sin() * 2).exp()

compiled = torch.compile(f, backend=backend, dynamic=False)
for n in (4, 4, 4, 5):
    torch.testing.assert_close(compiled(torch.ones(n)), f(torch.ones(n)))
"""
LATE = "[out + 1 for out in gm(*args)] if kernels and len(state) > 2 else gm(*args)"
AGAIN = """if len(kernels) > 1: raise RuntimeError("there is such a kernel")"""

THIRD_CALL = """\
compiled = torch.compile(f, backend=backend)
for _ in range(3):
    torch.testing.assert_close(compiled(x), f(x))
"""
SECOND_COMPILATION = """\
for _ in range(2):
    torch.compiler.reset()
    torch.compile(f, backend=backend)(x)
"""


@pytest.mark.parametrize(
    ("script", "check", "calls"),
    [
        (HEAD.format(compiling="pass", running=LATE), "accuracy", THIRD_CALL),
        (HEAD.format(compiling=AGAIN, running="gm(*args)"), "error", SECOND_COMPILATION),
    ],
    ids=["called", "compiled"],
)
def test_a_failure_of_a_later_turn(script, check, calls, reduced):
    _, result = reduced(script, check)
    assert result.status == "reduced", result.message
    assert result.minimal and result.operations.final == 1
    assert calls in result.text


BURNT_IN = """
import operator
import torch

def backend(gm, inputs):
    for node in [*gm.graph.nodes]:
        if node.target is operator.truediv and not isinstance(node.args[1], int):
            node.args = (node.args[0], node.args[1].meta["example_value"].node.hint)
    gm.recompile()
    return gm.forward

def f(x):
    return x.sin().sum() / x.shape[0] + 1

compiled = torch.compile(f, backend=backend)
for n in (4, 8, 6):
    torch.testing.assert_close(compiled(torch.ones(n)), f(torch.ones(n)))
"""
OTHER_SIZE = """\
compiled = torch.compile(f, backend=backend, dynamic=True)
compiled({}, 2)
torch.testing.assert_close(compiled(x, n), f(x, n))
"""


def test_a_failure_at_another_size_than_what_was_compiled_for(reduced):
    _, result = reduced(BURNT_IN, "accuracy")
    assert result.status == "reduced", result.message
    assert result.minimal and result.operations.final == 1
    assert OTHER_SIZE.format("torch.ones(())") in result.text, result.text
    changes = [change for change, *_ in result.necessary]
    assert "without calls of other sizes before it" in changes
    assert any(change == "n = 1 in the first call" for change in changes), changes


ONLY_BESIDE_THREE = BURNT_IN.replace(
    "gm, inputs):",
    "gm, inputs):\n"
    "    values = [node.meta.get('example_value') for node in gm.graph.nodes]\n"
    "    if not any(map(beside_three, values)):\n"
    "        return gm.forward",
).replace("torch.ones(n)", "torch.ones(n, 3)")
BESIDE_THREE = """
def beside_three(x):
    return isinstance(x, torch.Tensor) and x.dim() > 1 and type(x.shape[-1]) is int and x.shape[-1] == 3

def backend("""


def test_a_failure_where_only_some_sizes_are_symbols(reduced):
    """With ``dynamic=True`` all would be: the compiler must see by itself what changes."""
    _, result = reduced(ONLY_BESIDE_THREE.replace("\ndef backend(", BESIDE_THREE), "accuracy")
    assert result.status == "reduced", result.message
    assert result.minimal and result.operations.final <= 2
    assert result.text.count("\ncompiled(") == 2, result.text
    assert "dynamic=" not in result.text
    changes = [change for change, *_ in result.necessary]
    assert "without calls of other sizes before it" in changes, changes


FOLDED = """
import torch

def backend(gm, inputs):
    inside = {}
    for node, value in zip(gm.graph.nodes, inputs):
        if "_%s_" in node.target:
            inside[node] = value.clone()
    for node in [*gm.graph.nodes]:
        if node.op == "call_function" and {*node.all_input_nodes} <= {*inside}:
            inside[node] = node.target(*(inside.get(arg, arg) for arg in node.args))
            gm.register_buffer(f"folded_{len(inside)}", inside[node].detach() + %s)
            with gm.graph.inserting_after(node):
                node.replace_all_uses_with(gm.graph.get_attr(f"folded_{len(inside)}"))
    gm.recompile()
    return gm.forward

class Scaled(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.full((3,), 2.0))
        self.register_buffer("scale", torch.full((3,), 3.0))

    def forward(self, x):
        return (x + torch.sin(self.weight)) * torch.exp(self.scale)

model = Scaled()
compiled = torch.compile(model, backend=backend)
x = torch.ones(3)
for _ in range(2):
    torch.testing.assert_close(compiled(x), model(x))
    model.weight.data.add_(1)
    model.scale.add_(1)
"""
UPDATED = """\
class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("buffer", torch.ones(1))

    def forward(self):
        return torch.exp(self.buffer)


f = Model()
backend = torch.os.environ.get("TORCH_COMPILE_BACKEND") or backend
compiled = torch.compile(f, backend=backend)
compiled()
f.buffer.mul_(2)
torch.testing.assert_close(compiled(), f())
"""
HELD = """\
        self.weight = torch.nn.Parameter(torch.ones(1), requires_grad=False)

    def forward(self):
        return torch.sin(self.weight)


f = Model()
backend = torch.os.environ.get("TORCH_COMPILE_BACKEND") or backend
torch.testing.assert_close(torch.compile(f, backend=backend)(), f())
"""


@pytest.mark.parametrize(
    ("script", "end", "needed"),
    [
        (FOLDED % ("buffers", 0), UPDATED, "without an update of the module between two calls"),
        (FOLDED % ("parameters", 1), HELD, "with arguments instead of parameters and buffers"),
    ],
    ids=["updated", "held"],
)
def test_what_fails_for_what_a_module_holds(script, end, needed, reduced):
    _, result = reduced(script, "accuracy")
    assert result.status == "reduced", result.message
    assert result.minimal and result.operations.final == 1
    assert end in result.text, result.text
    changes = [change for change, *_ in result.necessary]
    assert needed in changes, changes


CACHED = """
import torch

programs = {{}}

def backend(gm, inputs):
    key = str([str(node.target) for node in gm.graph.nodes if node.op.startswith("call_")])
    first = programs.setdefault(key, (gm.forward, int(inputs[-1].shape[0])))
    return {compiled}

def f(x):
    return x.sin().reshape(x.shape[0] * 2, -1) + 1

compiled = torch.compile(f, backend=backend{options})
for n in (6, 6, 4):
    torch.testing.assert_close(compiled(torch.ones(n, 4)), f(torch.ones(n, 4)))
"""
CUT_OFF = "lambda *args: [out[: first[1]] for out in gm(*args)] if 'sin' in key else gm(*args)"


def test_a_compiler_that_keeps_what_it_made_for_other_sizes(reduced):
    """Numbers that follow a size are arguments where they matter."""
    _, result = reduced(CACHED.format(compiled="first[0]", options=", dynamic=False"), "error")
    assert result.status == "reduced", result.message
    assert result.minimal and result.operations.final == 1
    assert "def f(x, n):\n    return x.reshape(n)\n" in result.text, result.text
    assert "\ncompiled(torch.ones(3, 2), 6)\ncompiled(x, n)\n" in result.text
    changes = [change for change, *_ in result.necessary]
    assert "without calls of other sizes before it" in changes


def test_it_may_find_out_by_itself_that_a_size_changes(reduced):
    script = CACHED.format(compiled=CUT_OFF, options="").replace("(6, 6, 4)", "(4, 6)")
    script = script.replace(".reshape(x.shape[0] * 2, -1)", "")
    _, result = reduced(script, "accuracy")
    assert result.status == "reduced", result.message
    assert result.minimal and result.operations.final == 1
    assert "torch.sin(x)" in result.text or "x.sin()" in result.text, result.text
    assert "\ncompiled(torch.ones(2))\n" in result.text, result.text
    assert "dynamic=" not in result.text
