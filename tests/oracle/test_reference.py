"""What a float64 run says of a function that draws random numbers."""

import pytest
import torch

from torchcrux.oracle.failure import Failure, Kind, Stage
from torchcrux.oracle.judge import judge
from torchcrux.oracle.numerics import roughly_alike

SCRIPT = """
import torch

def f(x):
    return {function} * 1000

def backend(gm, inputs):
    return lambda *args: tuple(out * {factor} for out in gm(*args))

x = torch.linspace(1, 2, 64)
torch.manual_seed(0)
expected = f(x)
torch.manual_seed(0)
actual = torch.compile(f, backend=backend)(x)
torch.testing.assert_close(actual, expected)
"""
DROPPED = "torch.nn.functional.dropout(x, 0.5)"  # float64 drops the same elements
DRAWN = "(x + torch.rand_like(x))"  # and draws other numbers


@pytest.mark.parametrize(
    ("function", "factor", "verdict"),
    [
        (DROPPED, 1.000005, "passes"),
        (DROPPED, 1.1, "same"),
        (DRAWN, 1.000005, "same"),
        (DRAWN, 1.1, "same"),
    ],
)
def test_it_counts_where_it_has_drawn_the_same(tmp_path, monkeypatch, function, factor, verdict):
    monkeypatch.chdir(tmp_path)
    torch.compiler.reset()
    message = (("AssertionError", ""),)
    expected = Failure(Kind.ACCURACY, Stage.RUN, message, (), metric={"attribute": "values"})
    text = SCRIPT.format(function=function, factor=factor)
    names = {"expected_names": [], "renamed": []}
    answer = judge({"text": text, "draws": True, "expected": expected.to_json(), **names})
    assert answer["verdict"] == verdict


def test_what_is_roughly_alike():
    x = torch.linspace(1, 2, 8)
    assert roughly_alike([x, 1], [x.double() * 1.01, 2, 3])
    assert not roughly_alike([x], [x.double().flip(0)])
    assert not roughly_alike([x], [x[:4]])
    assert not roughly_alike([x], [None])
    assert not roughly_alike([x, x], [x])
    nan = torch.tensor([1.0, torch.nan])
    assert roughly_alike([nan], [nan.double()])
    assert not roughly_alike([nan], [torch.ones(2)])
