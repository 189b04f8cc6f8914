"""Of a long function only what is still needed is in memory."""

from __future__ import annotations

import weakref
from pathlib import Path

import pytest
import torch

from torchcrux.emit.script import probed, script
from torchcrux.oracle.freeing import LONG, compiled
from torchcrux.program.context import Context
from torchcrux.program.ir import Node, Op, Program, Ref, Region
from torchcrux.program.spec import Tensor

SPEC = Tensor(shape=(2,))


class Living:
    """How many of the values that were seen are there at most, besides the last."""

    def __init__(self):
        self.values = []
        self.most = 0

    def see(self, name, value):
        self.most = max(self.most, sum(one() is not None for one in self.values))
        self.values.append(weakref.ref(value))
        return value


def program(length):
    """Calls on the one before and on one two before; some write in place, some have a scope."""
    nodes = [Node("x", Op.INPUT, spec=SPEC), Node("y", Op.INPUT, spec=SPEC)]
    values = [Ref("y"), Ref("x")]
    for i in range(length):
        regions = (Region("torch.no_grad()", 0),) * (30 < i < 60)
        target = ("torch.add", "torch.sin", "operator.iadd", "operator.setitem")[i % 4]
        args = {"torch.sin": (values[0],), "operator.setitem": (values[0], 0, 1.5)}
        operands = args.get(target, (values[0], values[1]))
        nodes.append(Node(f"v{i}", Op.FUNCTION, target, operands, spec=SPEC, regions=regions))
        if target != "operator.setitem":
            values = [Ref(f"v{i}"), *values[:1]]
    return Program(tuple(nodes), tuple(value.name for value in values))


def run(code, living=None):
    torch.manual_seed(0)
    space = {"__name__": "__main__", "_probe": living.see if living else None}
    exec(code, space)
    return space


def test_a_probed_run_holds_what_is_needed():
    living = Living()
    text = probed(program(100), Context(), "_probe")
    run(compiled(text, Path("facts.py"), longest=0), living)
    assert len(living.values) > 70
    assert living.most <= 6


@pytest.mark.parametrize("length", [LONG * 2, 1500])
def test_a_script_computes_the_same_with_less(length, tmp_path):
    text = script(program(length), Context()).partition("\nbackend = ")[0]
    text += "\nx, y = torch.ones(2), torch.ones(2)\n"
    code = compiled(text, tmp_path / "repro.py")
    plain, freeing = run(text), run(code)
    inputs = torch.rand(2), torch.rand(2)
    expected = plain["f"](*(x.clone() for x in inputs))
    torch.testing.assert_close(freeing["f"](*(x.clone() for x in inputs)), expected, equal_nan=True)

    living = Living()
    original, torch.sin = torch.sin, lambda x: living.see("", original(x))
    try:
        freeing["f"](*inputs)
    finally:
        torch.sin = original
    assert len(living.values) > 50
    assert living.most <= 6


def test_what_an_inner_function_uses_stays(tmp_path):
    lines = ["a = x + 1", "def g(b):", "    return a + b", *["x = g(x)"] * LONG, "return x"]
    body = "\n    ".join(["def f(x):", *lines])
    assert run(compiled(body, tmp_path / "repro.py"))["f"](1) == 1 + 2 * LONG
