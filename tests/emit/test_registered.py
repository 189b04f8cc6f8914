"""Operators of a script are called by the names that the script has given them."""

from __future__ import annotations

import pytest

from torchcrux.emit.registered import by_name, names_of

DECORATED = """\
@torch.library.custom_op("mine::turned", mutates_args=())
def turned(x: torch.Tensor) -> torch.Tensor:
    return x.flip(0)


@turned.register_fake
def _(x):
    return torch.empty_like(x)


@turned.register_kernel("cuda")
def _(x):
    return x.flip(0)
"""


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (DECORATED, {"torch.ops.mine.turned": "turned"}),
        (DECORATED.replace("def turned", "def other"), {"torch.ops.mine.turned": "other"}),
        ('twice = triton_op("mine::two", g, mutates_args={})', {"torch.ops.mine.two": "twice"}),
        (DECORATED + "\n\ndef turned(x):\n    return x", {}),
        (DECORATED.replace("@torch", "@traced\n@torch"), {}),
        ('torch.library.define("mine::turned", "(Tensor x) -> Tensor")', {}),
        ("custom_op(name, mutates_args=())", {}),
        ("", {}),
    ],
)
def test_a_name_is_what_a_registration_binds(text, names):
    assert names_of(text.splitlines()) == names


def test_a_name_that_is_taken_is_not_used():
    names = {"torch.ops.mine.turned": "turned", "torch.ops.mine.two": "twice"}
    lines = ["def f(x):", "    return torch.ops.mine.turned.default(torch.ops.mine.two.default(x))"]
    assert by_name(lines, names, {"x", "twice"}) == [
        "def f(x):",
        "    return turned(torch.ops.mine.two.default(x))",
    ]
    assert by_name([], names, {}) == []
