"""Wrong numbers: each compiled graph against eager, judged by a float64 run."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import fx
from torch.utils.checkpoint import checkpoint

from torchcrux.capturing.attributes import AttributeChecker
from torchcrux.capturing.clones import clone_inputs
from torchcrux.capturing.eager import copy_of
from torchcrux.capturing.script import Ending
from torchcrux.capturing.watched import CheckFailed, NotCompared, checked
from torchcrux.oracle.failure import Kind

pytestmark = pytest.mark.usefixtures("warm_start")

WRONG = {
    "a changed input": """
def backend(gm, inputs):
    def run(x):
        y, = gm.forward(x)
        x.add_(1)
        return (y,)
    return run
torch.compile(lambda x: x * 2, backend=backend)(torch.ones(3))
print("not reached")
""",
    "a second shape": """
def backend(gm, inputs):
    def run(*args):
        out, = gm.forward(*args)
        return (out * 1.5 if out.shape[0] == 5 else out,)
    return run
f = torch.compile(lambda x: x * 2, backend=backend, dynamic=True)
f(torch.ones(3)); f(torch.ones(4)); f(torch.ones(5))
print("not reached")
""",
    "a default device": """
torch.set_default_device("meta")
f = torch.compile(lambda x: torch.relu(x) * 2, backend="relu_accuracy_error_TESTING_ONLY")
f(torch.ones(3, device="cpu"))
print("not reached")
""",
    "a swallowing script": """
f = torch.compile(lambda x: torch.relu(x) * 2, backend="relu_accuracy_error_TESTING_ONLY")
try:
    f(torch.ones(3))
except Exception:
    print("not reached")
print("not reached")
""",
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
def test_wrong_numbers_end_the_script(scripts, text, capfd):
    found = scripts.run("import torch\n" + text, check="accuracy")
    assert found.ending is Ending.CAUGHT, found
    assert found.case.failure.kind is Kind.ACCURACY
    assert found.case.failure.metric["attribute"] == "values"
    assert not found.swallowed
    assert found.exception is None
    printed = capfd.readouterr()
    assert "not reached" not in printed.out
    assert printed.err == ""
    (values,) = [one for one in found.case.tensors().values() if one.shape]
    assert set(values.tolist()) == {1.0}  # as they were before the call


RIGHT = {
    "dropout in Inductor": """
f = torch.compile(lambda x: torch.nn.functional.dropout(x, 0.5) + torch.rand_like(x))
f(torch.ones(64))
""",
    "in place on aliases": """
def f(a, b):
    a.mul_(2)
    return a + b
base = torch.ones(6)
torch.compile(f, backend="aot_eager")(base[:4], base[2:])
assert base.tolist() == [2, 2, 2, 2, 1, 1]
""",
    "training": """
layer = torch.nn.Linear(4, 4)
f = torch.compile(lambda x: torch.relu(layer(x)).sum(), backend="aot_eager")
for _ in range(3):
    f(torch.ones(2, 4)).backward()
    assert layer.weight.grad is not None
""",
    "random numbers go on as without us": """
torch.manual_seed(0)
f = torch.compile(lambda x: x + torch.rand(3), backend="eager")
f(torch.ones(3))
compiled = torch.rand(2)
torch.manual_seed(0)
torch.rand(3)
assert torch.equal(torch.rand(2), compiled)
""",
    "defaults of the script's": """
weight = torch.rand(4, 5, requires_grad=True)
def f(x, n):
    y = torch.sigmoid(x @ weight)
    return y, y.argmax(), y.detach().half() * n, (x @ weight).to(torch.int32)
torch.set_default_device("meta")
torch.set_default_dtype(torch.float64)
given = torch.rand(64, 4, dtype=torch.float32, device="cpu"), 3
torch.compile(f, backend="inductor", dynamic=True)(*given)[0].sum().backward()
torch.set_default_device(None)
torch.set_default_dtype(torch.float32)
""",
}


def test_right_numbers_pass(scripts):
    found = scripts.run("import torch\n" + "\n".join(RIGHT.values()), check="accuracy")
    assert (found.status, found.broken) == (0, ()), found
    assert found.ending is Ending.PASSED, found
    assert found.graphs >= len(RIGHT)


def test_an_error_when_it_runs_stays_one(scripts):
    found = scripts.run(
        """
        import torch
        def backend(gm, inputs):
            def run(*args): raise RuntimeError("mine")
            return run
        try:
            torch.compile(lambda x: x + 1, backend=backend)(torch.ones(2))
        except RuntimeError as e:
            assert str(e) == "mine"
        """,
        check="accuracy",
    )
    assert (found.status, found.broken) == (0, ()), found
    assert found.case.failure.kind is Kind.RUNTIME_ERROR


class Check:
    """Calls the compiled graph, or fails, as its steps say."""

    def __init__(self, *steps):
        self.steps = steps

    def call(self, run, args):
        for step in self.steps:
            if isinstance(step, Exception):
                raise step
            result = run(*args)
        return result


def counted():
    calls = []

    def compiled(*args):
        calls.append(args)
        if len(calls) == 3:
            raise ZeroDivisionError("the third call")
        return len(calls)

    return compiled


OURS = LookupError("ours")


@pytest.mark.parametrize(
    ("steps", "result", "noted"),
    [((1,), 1, 0), ((1, OURS), 1, 1), ((1, 1, OURS), 1, 1), ((OURS,), 1, 1)],
)
def test_what_fails_in_a_check_itself_is_not_the_scripts(steps, result, noted):
    errors = []
    found = checked(Check(*steps), counted(), (), broken=lambda: errors.append(sys.exc_info()[1]))
    assert found == result
    assert errors == [OURS] * noted


@pytest.mark.parametrize("error", [CheckFailed(None, (), 1), NotCompared("no", 1)])
def test_what_a_check_finds_and_what_the_graph_raises_goes_on(error):
    with pytest.raises(type(error)):
        checked(Check(1, error), counted(), (), broken=pytest.fail)
    with pytest.raises(ZeroDivisionError):
        checked(Check(1, 1, 1), counted(), (), broken=pytest.fail)
    late = RuntimeError("CUDA error: an illegal memory access was encountered")
    with pytest.raises(RuntimeError, match="illegal memory"):
        checked(Check(1, late), counted(), (), broken=pytest.fail)


def test_clones_behave_as_the_originals():
    base = torch.arange(12.0).reshape(3, 4)
    leaf = torch.ones(4, requires_grad=True)
    inner = (leaf * 2).expand(3, 4)
    values = [base.t(), base[1], leaf, inner, 5, torch.tensor([1j]).conj(), torch.empty(0, 3)]
    copies = clone_inputs(values)
    for value, copied in zip(values, copies, strict=True):
        if not isinstance(value, torch.Tensor):
            assert copied is value
            continue
        assert torch.equal(value, copied)
        assert (value.stride(), value.dtype) == (copied.stride(), copied.dtype)
        assert (value.requires_grad, value.is_leaf) == (copied.requires_grad, copied.is_leaf)
        assert value.is_conj() == copied.is_conj()
    copies[1].fill_(-1)
    assert copies[0][:, 1].tolist() == [-1] * 4
    assert base[1].tolist() == [4, 5, 6, 7]


def test_outputs_are_not_compared_with_what_eager_refuses():
    refusing = fx.symbolic_trace(lambda x: torch.bitwise_not(x))
    check = AttributeChecker().of(refusing)
    out = torch.ones(2)
    assert check.call(lambda x: out, [torch.ones(2)]) is out


def test_what_eager_refuses_is_not_called_right(scripts):
    """Of a matrix without a Cholesky factor the compiled graph says something all the same."""
    text = """
    import torch

    def backend(gm, inputs):
        return lambda *args: (torch.zeros(2, 2),)

    torch.compile(torch.linalg.cholesky, backend=backend)(-torch.eye(2))
    """
    found = scripts.run(text, check="accuracy")
    assert found.ending is Ending.PASSED, found
    assert "not compared, since eager refuses them: _LinAlgError" in found.message


def test_a_checkpoint_draws_the_same_numbers_when_eager_computes_it_again():
    def body(x):
        return x * torch.ops.test_of_checkpoints.mask(x.detach())

    def f(x):
        return checkpoint(body, x, use_reentrant=False)

    with torch.library._scoped_library("test_of_checkpoints", "FRAGMENT") as library:
        library.define("mask(Tensor x) -> Tensor")
        library.impl("mask", lambda x: (torch.rand_like(x) < 0.5).float(), "CPU")
        library.impl("mask", torch.empty_like, "Meta")
        graphs = []
        torch.compile(f, backend=lambda gm, _: graphs.append(gm) or gm)(
            torch.ones(32, requires_grad=True)
        )
        (gm,) = graphs
        x = torch.ones(32, requires_grad=True)
        (out,) = copy_of(gm)(x)
        assert torch.equal(torch.autograd.grad(out.sum(), x)[0], out)
