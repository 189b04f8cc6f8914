"""Wrong gradients: found without a loss of ours in the user's run."""

from __future__ import annotations

import pytest
import torch

from torchcrux.capturing.clones import clone_inputs
from torchcrux.capturing.gradients import gradients
from torchcrux.capturing.script import Ending
from torchcrux.oracle.failure import Kind, Stage

pytestmark = pytest.mark.usefixtures("warm_start")

BACKEND = """
import torch
from functorch.compile import make_boxed_func
from torch._dynamo.backends.common import aot_autograd

def _halved(gm, inputs):
    def run(*args):
        return [None if g is None else g * {factor} for g in gm(*args)]
    return make_boxed_func(run)

backend = aot_autograd(
    fw_compiler=lambda gm, inputs: make_boxed_func(gm.forward), bw_compiler=_halved
)
"""

WRONG = {
    "of a parameter": """
torch.manual_seed(0)  # not every unit may be dead
layer = torch.nn.Linear(4, 4)
f = torch.compile(lambda x: torch.relu(layer(x)).sum(), backend=backend)
f(torch.ones(2, 4))
print("not reached")
""",
    "of an input that is no leaf and is written to": """
f = torch.compile(lambda x: x.mul_(2).sin(), backend=backend)
f(torch.randn(3, requires_grad=True) + 1)
print("not reached")
""",
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
def test_wrong_gradients_end_the_script(scripts, text, capfd):
    found = scripts.run(BACKEND.format(factor=0.5) + text, check="accuracy")
    assert found.ending is Ending.CAUGHT, found
    assert found.case.failure.kind is Kind.ACCURACY
    assert found.case.failure.stage is Stage.BACKWARD
    assert found.case.failure.metric["attribute"] == "gradient"
    assert found.case.context.backward
    assert "not reached" not in capfd.readouterr().out


RIGHT = {
    "a user's training goes on": """
layer = torch.nn.Linear(4, 4)
calls = []
layer.weight.register_hook(lambda g: calls.append(g))
f = torch.compile(lambda x: torch.nn.functional.dropout(layer(x)).relu().sum(), backend=backend)
state = torch.get_rng_state()
loss = f(torch.ones(2, 4))
after = torch.get_rng_state()
torch.set_rng_state(state)
torch.nn.functional.dropout(torch.ones(2, 4))
assert torch.equal(after, torch.get_rng_state())
assert layer.weight.grad is None and not calls
loss.backward()
assert len(calls) == 1 and layer.weight.grad is not None
""",
    "without grad mode": """
f = torch.compile(lambda x: x.sin(), backend=wrong)
with torch.no_grad():
    f(torch.randn(3, requires_grad=True))
""",
    "a backward that nobody runs may be impossible": """
f = torch.compile(lambda x: x.sin(), backend=failing)
f(torch.randn(3, requires_grad=True))
f(torch.randn(4, requires_grad=True))
""",
    "statistics of a BatchNorm": """
norm = torch.nn.BatchNorm1d(4)
f = torch.compile(norm, backend=backend)
for n in (2, 3):
    f(torch.randn(n, 4)).square().sum().backward()
assert norm.num_batches_tracked == 2
""",
}

OTHERS = """
def _failing(gm, inputs):
    raise RuntimeError("no backward")

failing = aot_autograd(
    fw_compiler=lambda gm, inputs: make_boxed_func(gm.forward), bw_compiler=_failing
)
wrong = aot_autograd(
    fw_compiler=lambda gm, inputs: make_boxed_func(gm.forward),
    bw_compiler=lambda gm, inputs: make_boxed_func(lambda *a: [2 * g for g in gm(*a)]),
)
"""


def test_right_gradients_pass(scripts):
    text = BACKEND.format(factor=1) + OTHERS + "\n".join(RIGHT.values())
    found = scripts.run(text, check="accuracy")
    assert (found.status, found.broken) == (0, ()), found
    assert found.ending is Ending.PASSED, found
    assert found.graphs >= len(RIGHT)


def test_gradients_are_those_of_autograd_and_leave_no_trace():
    x = torch.randn(3, 4, requires_grad=True)
    w = torch.randn(4, 2, requires_grad=True)
    unused = torch.randn(2, requires_grad=True)

    def run(x, n, w, unused):
        return (x @ w) * n, x.detach(), [x.argmax()]

    found, weights = gradients(run, [x, 3, w, unused])
    expected = torch.autograd.grad((x @ w) * 3, (x, w), weights)
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])
    assert found[2] is None
    assert x.grad is None and w.grad is None
    again, _ = gradients(run, [x, 3, w, unused])
    assert torch.equal(again[0], found[0])
    assert gradients(lambda x: x.detach(), [x]) is None


def test_the_gradient_is_that_of_the_value_before_the_call():
    base = torch.randn(4, requires_grad=True)
    (copy,) = clone_inputs([base + 1])
    found, (weight,) = gradients(lambda x: x.mul_(3), [copy])
    assert torch.allclose(found[0], 3 * weight)
