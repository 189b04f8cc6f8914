"""What is left of the registration of a custom operator."""

from quality_kit import draft, minimal

from torchcrux.program.context import Context

RAW = """
import torch

lib = torch.library.Library("crux_quality", "DEF")
lib.define("turned(Tensor x, int n) -> Tensor")
TABLE = {0: 1.0, 1: 2.0}


def _factor(n):
    return TABLE[n % 2]


@torch.library.impl(lib, "turned", "CPU")
def turned(x, n):
    y = x * _factor(n)
    return y.flip(0)


@torch.library.register_fake("crux_quality::turned")
def _(x, n):
    return torch.empty_like(x)
"""


def test_only_the_presence_of_an_operator_matters():
    start = draft(
        {"x": (3,)},
        [("y", "torch.ops.crux_quality.turned", ("%x", 3)), ("z", "torch.sin", ("%y",))],
        context=Context(operators=(("torch.ops.crux_quality.turned", RAW),)),
    )
    left = minimal(start, lambda program: "crux_quality" in program.calls[0].target)
    assert left.function == ["return torch.ops.crux_quality.turned(x, 0)"]
    assert "def turned(x, n):\n    return x.clone()\n" in left.text
    assert "TABLE" not in left.text
    assert left.text.count("def ") == 2  # a kernel for eager, and f
