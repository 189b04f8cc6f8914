"""Each faulty backend fails on its trigger, in every spelling, and is correct without it."""

import copy
import importlib.metadata
import subprocess
import sys
import unittest
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.testing._internal.common_device_type import instantiate_device_type_tests
from torch.testing._internal.common_utils import TestCase, parametrize

import torchcrux_faulty_backends as faulty

RELU_BACKENDS = (faulty.relu_compile_error, faulty.relu_runtime_error, faulty.relu_accuracy_error)
ALL_BACKENDS = (*RELU_BACKENDS, faulty.non_leaf_compile_error)

SPELLINGS = {
    "torch": torch.relu,
    "torch_in_place": torch.relu_,
    "functional": F.relu,
    "functional_in_place": lambda x: F.relu(x, inplace=True),
    "functional_in_place_by_position": lambda x: F.relu(x, True),
    "functional_by_keyword": lambda x: F.relu(input=x, inplace=True),
    "method": lambda x: x.relu(),
    "method_in_place": lambda x: x.relu_(),
    "unbound_method": lambda x: torch.Tensor.relu(x),
    "aten": torch.ops.aten.relu.default,
    "aten_in_place": torch.ops.aten.relu_.default,
    "aten_by_keyword": lambda x: torch.ops.aten.relu.default(self=x),
    "aten_packet": lambda x: torch.ops.aten.relu(x),
    "module": nn.ReLU(),
    "module_in_place": nn.ReLU(inplace=True),
}


class Nested(nn.Module):
    """Its only relu lies two modules down."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.ReLU()), nn.Linear(4, 4))

    def forward(self, x):
        return self.body(x)


def traced(module, leaf):
    """`module` as a graph whose modules are called, not inlined; `leaf` says how far down."""

    class Tracer(torch.fx.Tracer):
        def is_leaf_module(self, module, name):
            return isinstance(module, leaf)

    return torch.fx.GraphModule(module, Tracer().trace(module))


def layout(graph):
    """What a backend could have changed in a graph module, apart from values."""
    nodes = [(node.op, str(node.target), node.args) for node in graph.graph.nodes]
    modules = [(name, type(module)) for name, module in graph.named_modules()]
    return str((nodes, modules))


def installed_names():
    entries = importlib.metadata.entry_points(group="torch_dynamo_backends")
    return {entry.name for entry in entries if entry.value.startswith(faulty.__name__)}


def plain(x, weight):
    """No trigger of any backend, but operations whose names are close."""
    return F.relu6(torch.sin(x) @ weight).sum() + x.prelu(weight[0]).mean()


@torch.compiler.nested_compile_region
def region(x):
    return torch.cos(torch.relu(x))


BODIES = {
    "checkpoint": lambda x: torch.utils.checkpoint.checkpoint(
        lambda y: torch.sin(y).relu(), x, use_reentrant=False
    ),
    "cond": lambda x: torch.cond(x.sum() > 1e9, torch.sin, lambda y: torch.relu(y), (x,)),
    "region": lambda x: region(x) + region(x + 1),
    "region_in_checkpoint": lambda x: torch.utils.checkpoint.checkpoint(
        region, x, use_reentrant=False
    ),
}


class TestFaultyBackends(TestCase):
    def setUp(self):
        super().setUp()
        torch._dynamo.reset()
        torch.manual_seed(0)

    def assert_fault(self, backend, function, x):
        """`function`, compiled by `backend`, fails in the way of that backend."""
        if backend is faulty.relu_compile_error:
            with self.assertRaisesRegex(Exception, "ReluCompileError: relu cannot be compiled"):
                torch.compile(function, backend=backend)(x)
        elif backend is faulty.relu_runtime_error:
            with self.assertRaisesRegex(faulty.ReluRuntimeError, "relu failed while running"):
                torch.compile(function, backend=backend)(x)
        else:
            expected = function(x.clone())
            self.assert_wrong_everywhere(torch.compile(function, backend=backend)(x), expected)

    def assert_wrong_everywhere(self, actual, expected):
        """No element is within the default tolerances of assert_close for its dtype."""
        self.assertEqual(actual.dtype, expected.dtype)
        self.assertEqual(actual.shape, expected.shape)
        for a, e in zip(actual.flatten(), expected.flatten(), strict=True):
            with self.assertRaises(AssertionError):
                torch.testing.assert_close(a, e)

    @parametrize("backend", RELU_BACKENDS)
    @parametrize("spelling", tuple(SPELLINGS))
    def test_relu_in_every_spelling(self, device, spelling, backend):
        relu = SPELLINGS[spelling]
        self.assert_fault(backend, lambda x: relu(torch.sin(x)) * 2, torch.randn(8, device=device))

    @parametrize("backend", RELU_BACKENDS)
    @parametrize("leaf", (nn.ReLU, nn.Sequential))
    def test_relu_in_called_modules(self, device, leaf, backend):
        graph = traced(Nested().to(device), (leaf, nn.Linear))
        before = copy.deepcopy(graph)
        x = torch.randn(3, 4, device=device)
        if backend is faulty.relu_compile_error:
            with self.assertRaises(faulty.ReluCompileError):
                backend(graph, [x])
        elif backend is faulty.relu_runtime_error:
            compiled = backend(graph, [x])
            with self.assertRaises(faulty.ReluRuntimeError):
                compiled(x)
        else:
            self.assert_wrong_everywhere(backend(graph, [x])(x), before(x))
        graph.recompile()
        self.assertEqual(graph(x), before(x))
        self.assertEqual(graph.code, before.code)
        self.assertEqual(layout(graph), layout(before))

    @parametrize("backend", RELU_BACKENDS)
    @parametrize("body", tuple(BODIES))
    def test_relu_in_the_body_of_a_higher_order_operator(self, device, body, backend):
        self.assert_fault(backend, BODIES[body], torch.randn(8, device=device))

    @parametrize("backend", ALL_BACKENDS)
    def test_correct_without_the_trigger(self, device, backend):
        x = torch.randn(5, 4, device=device, requires_grad=True)
        weight = torch.randn(4, 4, device=device, requires_grad=True)
        expected = plain(x, weight)
        expected_gradients = torch.autograd.grad(expected, (x, weight))
        actual = torch.compile(plain, backend=backend, fullgraph=True)(x, weight)
        self.assertEqual(actual, expected)
        self.assertEqual(torch.autograd.grad(actual, (x, weight)), expected_gradients)

    @parametrize("backend", ALL_BACKENDS)
    def test_trains_without_the_trigger(self, device, backend):
        model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.GELU()).to(device)
        twin = copy.deepcopy(model)
        compiled = torch.compile(model, backend=backend)
        for _ in range(2):
            x = torch.randn(6, 4, device=device)
            for run, parameters in ((compiled, model), (twin, twin)):
                run(x).square().sum().backward()
                torch.optim.SGD(parameters.parameters(), lr=0.1).step()
        self.assertEqual(dict(model.state_dict()), dict(twin.state_dict()))

    @parametrize("dtype", (torch.float64, torch.float32, torch.float16, torch.bfloat16))
    @parametrize("scale", (1e-3, 1.0, 1e3))
    def test_wrong_numbers_exceed_the_tolerance_of(self, device, dtype, scale):
        x = torch.randn(64, device=device, dtype=dtype) * scale
        actual = torch.compile(torch.relu, backend=faulty.relu_accuracy_error)(x)
        self.assert_wrong_everywhere(actual, torch.relu(x))
        torch.testing.assert_close(actual, torch.relu(x), rtol=0.2, atol=0.2 * (1 + scale * 4))

    def test_wrong_numbers_for_integers(self, device):
        x = torch.arange(-3, 4, device=device)
        actual = torch.compile(torch.relu, backend=faulty.relu_accuracy_error)(x)
        self.assertEqual(actual, torch.relu(x) + 1)

    def test_wrong_numbers_survive_a_normalisation(self, device):
        def function(x):
            return F.layer_norm(torch.relu(x), (16,))

        x = torch.randn(4, 16, device=device)
        actual = torch.compile(function, backend=faulty.relu_accuracy_error)(x)
        with self.assertRaises(AssertionError):
            torch.testing.assert_close(actual, function(x))

    @parametrize("spelling", ("torch", "functional_in_place", "method_in_place", "aten_in_place"))
    def test_wrong_numbers_have_the_gradient_of_relu(self, device, spelling):
        relu = SPELLINGS[spelling]
        x = torch.randn(16, device=device, requires_grad=True)
        out = torch.compile(lambda x: relu(x + 0), backend=faulty.relu_accuracy_error)(x)
        (gradient,) = torch.autograd.grad(out.sum(), x)
        self.assertEqual(gradient, (x > 0).to(x.dtype))

    @parametrize("spelling", ("torch_in_place", "functional_in_place", "method_in_place"))
    def test_wrong_numbers_in_place_are_in_the_input(self, device, spelling):
        x = torch.randn(16, device=device)
        out = torch.compile(SPELLINGS[spelling], backend=faulty.relu_accuracy_error)(x)
        self.assertEqual(out.data_ptr(), x.data_ptr())
        self.assertTrue(bool((x > 0).all()))

    @parametrize("backend", (faulty.relu_runtime_error, faulty.relu_accuracy_error))
    @parametrize("leaf", (nn.Linear, nn.Sequential))
    def test_a_faulty_graph_shares_its_parameters(self, device, leaf, backend):
        graph = traced(Nested().to(device), (leaf, nn.ReLU))
        x = torch.randn(3, 4, device=device)
        compiled = backend(graph, [x])
        with torch.no_grad():
            for parameter in graph.parameters():
                parameter.fill_(float("nan"))
        if backend is faulty.relu_runtime_error:
            with self.assertRaises(faulty.ReluRuntimeError):
                compiled(x)
        else:
            self.assertTrue(bool(compiled(x).isnan().all()))

    def test_the_runtime_error_comes_from_running(self, device):
        graph = torch.fx.symbolic_trace(lambda x: torch.relu(x))
        compiled = faulty.relu_runtime_error(graph, [torch.ones(2, device=device)])
        for _ in range(2):
            with self.assertRaises(faulty.ReluRuntimeError):
                compiled(torch.ones(2, device=device))

    def test_a_non_leaf_does_not_compile(self, device):
        @torch.compile(backend=faulty.non_leaf_compile_error)
        def inner(x):
            return x + 1

        x = torch.randn(20, 20, device=device, requires_grad=True)
        with self.assertRaisesRegex(Exception, "NonLeafCompileError: input 0 requires grad"):
            inner(x + 1)

    @parametrize("requires_grad", (True, False))
    def test_a_leaf_compiles(self, device, requires_grad):
        @torch.compile(backend=faulty.non_leaf_compile_error)
        def inner(x):
            return torch.relu(x) + 1

        x = torch.randn(20, 20, device=device, requires_grad=requires_grad)
        self.assertEqual(inner(x), torch.relu(x) + 1)
        self.assertEqual(inner(x.detach() + 1), torch.relu(x.detach() + 1) + 1)

    def test_a_non_leaf_without_grad_compiles(self, device):
        x = torch.randn(20, device=device, requires_grad=True)
        with torch.no_grad():
            value = x + 1
        compiled = torch.compile(torch.sin, backend=faulty.non_leaf_compile_error)
        self.assertEqual(compiled(value), torch.sin(value))


class TestModule(TestCase):
    def test_imports_without_torchcrux(self):
        source = Path(faulty.__file__).read_text()
        program = (
            "import sys; sys.modules['torchcrux'] = None\n"
            f"exec(compile({source!r}, 'faulty', 'exec'), {{'__name__': 'faulty'}})"
        )
        subprocess.run([sys.executable, "-c", program], check=True)

    @unittest.skipUnless(installed_names(), "torchcrux is not installed")
    def test_is_found_by_name_where_torchcrux_cannot_be_imported(self):
        names = sorted(f"torchcrux_{backend.__name__}" for backend in ALL_BACKENDS)
        self.assertEqual(sorted(installed_names()), names)
        text = (
            "import sys; sys.modules['torchcrux'] = None\n"
            "import torch\n"
            f"for name in {names}:\n"
            "    compiled = torch.compile(torch.sin, backend=name)\n"
            "    x = torch.randn(3)\n"
            "    torch.testing.assert_close(compiled(x), torch.sin(x))\n"
        )
        subprocess.run([sys.executable, "-c", text], check=True)


instantiate_device_type_tests(
    TestFaultyBackends, globals(), only_for=("cpu", "cuda", "xpu"), allow_xpu=True
)
