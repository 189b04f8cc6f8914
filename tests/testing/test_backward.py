"""Failures of the backward pass, and of what a call leaves behind: from a script to a repro."""

from __future__ import annotations

import pytest

from torchcrux.testing import MinifierTestBase

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("warm_start")]

BACKEND = """
from functorch.compile import make_boxed_func
from torch._dynamo.backends.common import aot_autograd

def _forward(gm, inputs):
    return make_boxed_func(gm.forward)

def _backward(gm, inputs):
    faulty = any("tanh_backward" in str(node.target) for node in gm.graph.nodes)
    if not faulty:
        return make_boxed_func(gm.forward)
    {fault}

backend = aot_autograd(fw_compiler=_forward, bw_compiler=_backward)

def f(x, w):
    x = torch.relu(x @ w)
    x = torch.tanh(x) + torch.sin(x)
    return x.cos(), x.argmax(), x.detach()
"""

TRAINING = """
torch.manual_seed(0)  # of a relu that is zero all gradients are zero, and half of them is right
w = torch.randn(4, 4, requires_grad=True)
out = torch.compile(f, backend=backend)(torch.randn(2, 4), w)
out[0].square().mean().backward()
"""

HALVED = "return make_boxed_func(lambda *a: [None if g is None else g / 2 for g in gm(*a)])"
RAISES = """def run(*args):
        raise RuntimeError("the tangents were lost")
    return make_boxed_func(run)"""

UNWRITTEN = """
def backend(gm, inputs):
    def run(*args):
        if any(node.target == "mul_" for node in gm.graph.nodes):
            args = [arg.clone() for arg in args]
        return gm.forward(*args)
    return run

def f(x, y):
    z = torch.sin(x) + 1
    y.view(-1).mul_(2)
    return torch.cos(z)

torch.compile(f, backend=backend)(torch.randn(4), torch.randn(2, 2))
"""


class TestBackward(MinifierTestBase):
    def reduced(self, code, error):
        result = self._run_full_test(code, "dynamo", error, isolate=True)
        return result.repro_code, [node.target for node in result.reduced.calls]

    def test_compile_error(self):
        fault = 'raise RuntimeError("no schedule for the derivative of tanh")'
        code, targets = self.reduced(
            BACKEND.format(fault=fault) + TRAINING, "no schedule for the derivative"
        )
        self.assertEqual(targets, ["torch.tanh"])
        self.assertIn("backward()", code)
        self.assertIn("requires_grad=True", code)

    def test_runtime_error(self):
        code, targets = self.reduced(
            BACKEND.format(fault=RAISES) + TRAINING, "the tangents were lost"
        )
        self.assertEqual(targets, ["torch.tanh"])
        self.assertIn("backward()", code)

    def test_wrong_gradients(self):
        code, targets = self.reduced(BACKEND.format(fault=HALVED) + TRAINING, "AccuracyError")
        self.assertEqual(targets, ["torch.tanh"])
        self.assertIn("torch.autograd.grad", code)
        self.assertEqual(code.count("requires_grad=True"), 1)

    def test_right_gradients(self):
        right = BACKEND.format(fault="return make_boxed_func(gm.forward)")
        self._run_full_test(right + TRAINING, None, None, isolate=True)

    def test_an_input_that_is_not_written_to(self):
        code, targets = self.reduced(UNWRITTEN, "AccuracyError")
        self.assertEqual(targets[-1:], ["mul_"])
        self.assertLessEqual(len(targets), 2)
        self.assertIn("x.clone()", code)
