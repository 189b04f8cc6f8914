"""From code that fails to a repro, through `MinifierTestBase`, on each device that is there."""

from __future__ import annotations

import textwrap

import pytest
import torch
from torch.testing._internal.common_device_type import instantiate_device_type_tests

from torchcrux.testing import MinifierTestBase

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("warm_start")]

CHAIN = """
@torch.compile(backend={backend!r})
def inner(x):
    for _ in range(20):
        x = torch.sin(x)
    x = torch.relu(x)
    for _ in range(20):
        x = torch.sin(x)
    return x

inner(torch.randn(20, 20, device={device!r}))
"""

WITHOUT_RELU = CHAIN.replace("torch.relu", "torch.tanh")

NON_LEAF = """
@torch.compile(backend="torchcrux_non_leaf_compile_error")
def inner(x):
    return x + 1

inner(torch.randn(20, 20, requires_grad=True, device={device!r}) + 1)
"""

TWO_DEVICES = """
device = {device!r}

class Halves(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.there = torch.nn.Linear(20, 20).to(device)
        self.here = torch.nn.Linear(20, 20)
        self.scale_there = torch.nn.Parameter(torch.randn(20, 20, device=device))
        self.scale_here = torch.nn.Parameter(torch.randn(20, 20))
        self.register_buffer("shift_there", torch.ones(20, 20, device=device))
        self.register_buffer("shift_here", torch.ones(20, 20))

    def forward(self, x, y):
        x = torch.relu(self.there(x) * self.scale_there + self.shift_there)
        return x.cpu() + self.here(y) * self.scale_here + self.shift_here

halves = Halves()

@torch.compile(backend="torchcrux_relu_compile_error")
def inner(x, y):
    return halves(x.sin(), y.cos())

inner(torch.randn(20, 20, device=device), torch.randn(20, 20))
"""

ONE_RELU = """\
class Repro(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()

    def forward(self, x_19):
        x_20 = torch.relu(x_19);  x_19 = None
        return (x_20,)"""


class TestMinifier(MinifierTestBase):
    def reduce(self, code, error, device, *, isolate, **names):
        return self._run_full_test(
            code.format(device=device, **names), "dynamo", error, isolate=isolate
        )

    def _relu(self, device, kind, error, *, isolate):
        backend = f"torchcrux_relu_{kind}_error"
        result = self.reduce(CHAIN, error, device, isolate=isolate, backend=backend)
        self.assertEqual(result.repro_module(), ONE_RELU)
        self.assertEqual(result.minifier_module().count("torch.sin"), 40)
        self.assertNotIn("device=", result.repro_code)  # it fails on the CPU as well
        return result

    def test_compile_error(self, device):
        self._relu(device, "compile", "ReluCompileError", isolate=False)

    def test_compile_error_isolated(self, device):
        self._relu(device, "compile", "ReluCompileError", isolate=True)

    def test_runtime_error(self, device):
        self._relu(device, "runtime", "ReluRuntimeError", isolate=False)

    def test_runtime_error_isolated(self, device):
        self._relu(device, "runtime", "ReluRuntimeError", isolate=True)

    def test_accuracy_error(self, device):
        result = self._relu(device, "accuracy", "AccuracyError", isolate=False)
        self.assertIn("torch.testing.assert_close", result.repro_code)

    def test_accuracy_error_isolated(self, device):
        self._relu(device, "accuracy", "AccuracyError", isolate=True)

    def test_non_leaf_compile_error(self, device):
        result = self.reduce(NON_LEAF, "NonLeafCompileError", device, isolate=False)
        self.assertRegex(result.repro_module(), r"add = l_\w+_ \+ \d")

    def test_non_leaf_compile_error_isolated(self, device):
        self.reduce(NON_LEAF, "NonLeafCompileError", device, isolate=True)

    def test_a_module_on_two_devices(self, device):
        result = self.reduce(TWO_DEVICES, "ReluCompileError", device, isolate=False)
        self.assertEqual(result.repro_module().count("torch."), 2)  # the class, and torch.relu
        self.assertIn("torch.relu", result.repro_module())

    def test_a_module_on_two_devices_isolated(self, device):
        self.reduce(TWO_DEVICES, "ReluCompileError", device, isolate=True)

    def test_nothing_fails_without_the_trigger(self, device):
        for kind in ("compile", "runtime", "accuracy"):
            backend = f"torchcrux_relu_{kind}_error"
            self.assertIsNone(
                self.reduce(WITHOUT_RELU, None, device, isolate=False, backend=backend)
            )

    def test_nothing_fails_without_the_trigger_isolated(self, device):
        backend = "torchcrux_relu_accuracy_error"
        self.assertIsNone(self.reduce(WITHOUT_RELU, None, device, isolate=True, backend=backend))

    def test_a_failure_where_none_is_expected_fails_the_test(self, device):
        with self.assertRaises(AssertionError):
            self.reduce(CHAIN, None, device, isolate=False, backend="torchcrux_relu_compile_error")

    def test_an_error_that_does_not_come_fails_the_test(self, device):
        with self.assertRaises(AssertionError):
            self.reduce(
                WITHOUT_RELU,
                "ReluCompileError",
                device,
                isolate=False,
                backend="torchcrux_relu_compile_error",
            )

    def test_inductor_with_its_own_planted_bug(self, device):
        patch = self._gen_codegen_fn_patch_code(torch.device(device).type, "compile_error")
        code = textwrap.dedent(
            f"""
            {{patch}}
            @torch.compile()
            def inner(x):
                for _ in range(3):
                    x = torch.sin(x)
                x = torch.relu(x)
                return torch.cos(x)

            inner(torch.randn(20, 20, device={device!r}))
            """
        ).format(patch=patch.strip())
        error = "CppCompileError" if torch.device(device).type == "cpu" else "SyntaxError"
        result = self._run_full_test(code, "aot", error, isolate=False)
        self.assertIn("torch.relu(x_2)", result.repro_module())


instantiate_device_type_tests(TestMinifier, globals(), allow_xpu=True)
