"""What other reducers lose on the way: each of these is needed for the failure, and is in the repro.

The backend of every script fails only where the thing in question reaches it.
"""

from __future__ import annotations

import textwrap

import pytest
import torch
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode

pytestmark = pytest.mark.real

HEAD = """
import torch

torch.manual_seed(0)

class RejectedError(Exception):
    pass

def called(gm, name):
    return [node for node in gm.graph.nodes if name in str(node.target)]

def backend(gm, inputs):
    if rejected(gm, inputs):
        raise RejectedError("this is not supported")
    return gm.forward

"""

CASES = {
    "a branch": (
        """
        def rejected(gm, inputs):
            return any(called(body, "sin") for body in gm.children())

        def f(x):
            y = x.exp() + 1
            return torch.cond(y.sum() > 0, lambda y: y.sin() * 2, lambda y: y.cos(), (y,)).sum()

        torch.compile(f, backend=backend)(torch.randn(4))
        """,
        ["torch.cond(", "lambda x: x.sin()"],
    ),
    "an operator of the script": (
        """
        @torch.library.custom_op("hard_inputs::scaled", mutates_args=())
        def scaled(x: torch.Tensor, k: float) -> torch.Tensor:
            return x * k

        @scaled.register_fake
        def _(x, k):
            return torch.empty_like(x)

        def rejected(gm, inputs):
            return called(gm, "scaled")

        torch.compile(lambda x: scaled(x.sin(), 2.0).sum(), backend=backend)(torch.randn(4))
        """,
        ['@torch.library.custom_op("hard_inputs::scaled"', "@scaled.register_fake"],
    ),
    "a literal nan": (
        """
        def rejected(gm, inputs):
            return any(arg != arg for node in called(gm, "where") for arg in node.args)

        def f(x):
            return torch.where(x > 0, x.exp(), float("nan")).nansum()

        torch.compile(f, backend=backend)(torch.randn(4))
        """,
        ['float("nan")'],
    ),
    "no_grad": (
        """
        def rejected(gm, inputs):
            return called(gm, "linear") and not torch.is_grad_enabled()

        model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
        with torch.no_grad():
            torch.compile(model, backend=backend)(torch.randn(3, 4))
        """,
        ["torch.no_grad()"],
    ),
    "autocast around the call": (
        """
        def rejected(gm, inputs):
            return called(gm, "linear") and torch.is_autocast_enabled("cpu")

        model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            torch.compile(model, backend=backend)(torch.randn(3, 4))
        """,
        ['with torch.autocast("cpu", dtype=torch.bfloat16)'],
    ),
    "inference mode": (
        """
        def rejected(gm, inputs):
            return called(gm, "linear") and any(
                isinstance(x, torch.Tensor) and x.is_inference() for x in inputs
            )

        model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
        with torch.inference_mode():
            torch.compile(model, backend=backend)(torch.randn(3, 4))
        """,
        ["torch.inference_mode()"],
    ),
    "an expanded input": (
        """
        def rejected(gm, inputs):
            return called(gm, "add") and any(
                isinstance(x, torch.Tensor) and x.dim() and x.shape[0] > 1 and x.stride(0) == 0
                for x in inputs
            )

        def f(x, y):
            return (x + y).sin()

        torch.compile(f, backend=backend)(torch.randn(1, 5).expand(3, 5), torch.randn(3, 5))
        """,
        [".expand("],
    ),
    "an input that is not contiguous": (
        """
        def rejected(gm, inputs):
            return called(gm, "exp") and any(
                isinstance(x, torch.Tensor) and not x.is_contiguous() for x in inputs
            )

        def f(x):
            return x.exp().sum()

        torch.compile(f, backend=backend)(torch.randn(6, 4).t())
        """,
        ["(torch.ones(2, 2).t())"],
    ),
    "a tensor made of two": (
        """
        from torch.testing._internal.two_tensor import TwoTensor

        def rejected(gm, inputs):
            return called(gm, "sigmoid") and any(type(x) is TwoTensor for x in inputs)

        def f(x, y):
            return (torch.sigmoid(x + y) * 3).cos()

        x = TwoTensor(torch.randn(4, 4), torch.randn(4, 4))
        torch.compile(f, backend=backend)(x, torch.randn(4, 4))
        """,
        ["(TwoTensor(torch.ones(1), torch.ones(1)))"],
    ),
    "dropout with a seed": (
        """
        def rejected(gm, inputs):
            return [node for node in called(gm, "dropout") if node.args[2]]

        model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Dropout(0.3), torch.nn.ReLU())
        torch.manual_seed(3)
        torch.compile(model, backend=backend)(torch.randn(3, 4))
        """,
        ["dropout("],
    ),
    "a quantized value": (
        """
        def rejected(gm, inputs):
            return called(gm, "quantize_per_tensor")

        def f(x):
            return torch.quantize_per_tensor(x.exp(), 0.1, 0, torch.qint8).dequantize().sum()

        torch.compile(f, backend=backend)(torch.randn(4))
        """,
        ["torch.quantize_per_tensor(", "torch.qint8"],
    ),
    "a symbolic size": (
        """
        def rejected(gm, inputs):
            return called(gm, "exp") and any(isinstance(x, torch.SymInt) for x in inputs)

        def f(x):
            return x.exp() * x.shape[0]

        compiled = torch.compile(f, backend=backend)
        for size in (4, 7):
            compiled(torch.randn(size))
        """,
        ["dynamic=True"],
    ),
    "a setting whose value is a function": (
        """
        import torch._inductor.config

        LIMIT = 1

        def no_relu(graph):
            if sum("relu" in str(node.target) for node in graph.nodes) >= LIMIT:
                raise RejectedError("too many")

        torch._inductor.config.post_grad_custom_pre_pass = no_relu

        torch.compile(lambda x: torch.relu(x.sin() * 2).sum())(torch.randn(4))
        """,
        ["torch._inductor.config.post_grad_custom_pre_pass = no_relu", "LIMIT = 1"],
    ),
    "an option whose value is a function": (
        """
        def no_relu(graph):
            if any("relu" in str(node.target) for node in graph.nodes):
                raise RejectedError("too many")

        options = {"post_grad_custom_pre_pass": no_relu, "epilogue_fusion": False}
        torch.compile(lambda x: torch.relu(x.sin() * 2).sum(), options=options)(torch.randn(4))
        """,
        ["torch._inductor.config.post_grad_custom_pre_pass = no_relu"],
    ),
}


class Scripts(SingleFileSnapshotExtension):
    """A whole repro in a file of its own; written anew with ``--snapshot-update``."""

    _write_mode = WriteMode.TEXT
    _file_extension = file_extension = "txt"  # the name before and since syrupy 5


def quantized(x):
    return torch.quantize_per_tensor(x, 0.1, 0, torch.qint8).dequantize()


def is_traced(function):
    try:
        torch.compile(function, backend="eager", fullgraph=True)(torch.ones(2))
    except torch._dynamo.exc.Unsupported:
        return False
    return True


@pytest.mark.parametrize(("body", "needed"), CASES.values(), ids=CASES)
def test_it_is_in_the_repro(body, needed, reduced, snapshot):
    if "torch.qint8" in needed and not is_traced(quantized):
        pytest.skip("this torch does not trace quantized values")
    _, result = reduced(HEAD + textwrap.dedent(body))
    assert result.status == "reduced", result.message
    assert result.verified_runs == 1
    assert result.operations.final == 1
    for text in needed:
        assert text in result.text
    assert result.text == snapshot(extension_class=Scripts)
