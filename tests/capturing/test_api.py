"""`capture` in the running process leaves no trace there."""

from __future__ import annotations

import importlib
import sys

import pytest
import torch
from torch._dynamo.output_graph import OutputGraph

import torchcrux
from torchcrux.capturing.api import NothingCaught, capture
from torchcrux.oracle.failure import Kind

COMPILE = "relu_compile_error_TESTING_ONLY"
RUN = "relu_runtime_error_TESTING_ONLY"


@pytest.fixture(autouse=True)
def unchanged():
    before = (
        OutputGraph.call_user_compiler,
        OutputGraph.install_global_unsafe,
        torch.autograd._engine_run_backward,
        list(sys.meta_path),
    )
    yield
    assert before == (
        OutputGraph.call_user_compiler,
        OutputGraph.install_global_unsafe,
        torch.autograd._engine_run_backward,
        list(sys.meta_path),
    )


def relu(x):
    return torch.relu(x) + 1


def test_the_public_name_is_a_function_whatever_was_imported_before():
    importlib.import_module("torchcrux.capturing.script")
    for _ in range(2):
        found = torchcrux.capture(torch.compile(relu, backend=COMPILE), torch.ones(3))
        assert found.failure.exception == "ReluCompileError"
    for name in torchcrux.__all__:
        assert callable(getattr(torchcrux, name))


def test_a_compiled_function():
    case = capture(torch.compile(relu, backend=COMPILE), torch.ones(3))
    assert case.failure.exception == "ReluCompileError"
    assert case.program.operations == 2


def test_a_function_that_calls_a_compiled_one():
    compiled = torch.compile(relu, backend=RUN)
    case = capture(lambda: compiled(torch.ones(3)))
    assert case.failure.kind is Kind.RUNTIME_ERROR
    assert case.context.backend.name == RUN


def test_what_was_compiled_before_is_seen_too():
    compiled = torch.compile(relu, backend=RUN)
    with pytest.raises(AssertionError):
        compiled(torch.ones(3))
    assert capture(compiled, torch.ones(3)).failure.message == "ReluRuntimeError"


def test_a_compiled_module():
    class Model(torch.nn.Module):
        def forward(self, x):
            return x + 1

    model = Model()
    model.compile(backend="eager")
    with pytest.raises(NothingCaught, match="1 graph"):
        capture(model, torch.ones(1, 2))


def test_nothing_compiled_runs_under_compile():
    with torch._inductor.config.patch({"cpp.inject_relu_bug_TESTING_ONLY": "compile_error"}):
        case = capture(relu, torch.ones(3))
    assert case.failure.kind is Kind.COMPILE_ERROR
    assert case.context.backend.name == "inductor"


def test_the_users_own_error_comes_out():
    with pytest.raises(ZeroDivisionError) as raised:
        capture(lambda: 1 / 0)
    frames = [entry.name for entry in raised.traceback]
    assert frames[-1] == "<lambda>"
