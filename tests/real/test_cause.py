"""Wrong numbers whose cause shows in another way than they do."""

SCRIPT = """
import torch
from torch import fx

class Narrowing(fx.Interpreter):
    def call_function(self, target, args, kwargs):
        out = super().call_function(target, args, kwargs)
        return out.half() if target is torch.relu else out

def narrowing(gm, inputs):
    return Narrowing(gm).run

def f(x):
    y = torch.relu(x * 3)
    for _ in range(6):
        x = torch.sin(x) + y.double() / 7
    return x, y

x = torch.linspace(0.1, 1, 9)
torch.testing.assert_close(torch.compile(f, backend=narrowing)(x), f(x))
"""


def test_a_wrong_dtype_that_was_seen_as_wrong_values_is_what_is_reduced(reduced):
    case, result = reduced(SCRIPT, check="accuracy")
    assert case.failure.metric["attribute"] == "values"
    assert (result.status, result.verified_runs) == ("reduced", 1), result.message
    assert result.minimal
    assert result.operations.final == 1
    assert "attribute 'dtype'" in result.failure.message
    assert "torch.relu(" in result.text
