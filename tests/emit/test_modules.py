"""What a user's module owns is an attribute of a module of the script, if that is asked for."""

from __future__ import annotations

import pytest
import torch

from torchcrux.emit.inputs import Unmakeable
from torchcrux.emit.plainly import LONG
from torchcrux.emit.script import script
from torchcrux.oracle.judge import unjustified
from torchcrux.program.context import Backend, Context
from torchcrux.program.ir import Node, Op, Program, Ref, Value
from torchcrux.program.spec import Tensor

GRAD = Tensor((2,), requires_grad=True)
NODES = (
    Node("w", Op.INPUT, spec=GRAD, value=Value.ONES, owner="parameter"),
    Node("l_x_", Op.INPUT, "L_x_", spec=GRAD, value=Value.ARANGE),
    Node("scale", Op.INPUT, spec=Tensor((2,), dtype="int64"), value=Value.ONES, owner="buffer"),
    Node("m", Op.FUNCTION, "operator.mul", (Ref("w"), Ref("l_x_")), spec=GRAD),
    Node("s", Op.FUNCTION, "operator.add", (Ref("m"), Ref("scale")), spec=GRAD),
)
PROGRAM = Program(NODES, ("s",))
CLASS = """\
class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(2))
        self.register_buffer("buffer", torch.ones(2, dtype=torch.int64))

    def forward(self, x):
        return self.weight * x + self.buffer


f = Model()
"""
EAGER = Context(Backend("eager"), module=True)


def run(text):
    namespace = {}
    exec(text, namespace)
    return namespace


def test_what_is_owned_is_held_and_the_rest_is_passed():
    text = script(PROGRAM, EAGER)
    assert CLASS in text
    assert text.endswith("(torch.arange(2.0, requires_grad=True))\n"), text
    run(text)


def test_it_is_updated_after_a_first_call():
    text = script(PROGRAM, Context(Backend("eager"), module=True, updated=True), accuracy=True)
    assert text.endswith(
        "compiled = torch.compile(f, backend=backend)\n"
        "compiled(x)\n"
        "f.weight.data.mul_(2)\n"
        "f.buffer.add_(1)\n"
        "torch.testing.assert_close(compiled(x), f(x))\n"
    ), text
    f = run(text)["f"]
    assert f.weight.tolist() == [2, 2] and f.buffer.tolist() == [2, 2]


@pytest.mark.parametrize("backward", [False, True], ids=["values", "gradients"])
def test_a_reference_comes_from_what_it_holds_too(backward):
    text = script(PROGRAM, Context(Backend("eager"), module=True, backward=backward), accuracy=True)
    namespace = run(text)
    found = torch.autograd.grad(namespace["f"](namespace["x"]).sum(), [*_held(namespace)])
    right = found if backward else namespace["f"](namespace["x"])
    wrong = [item + 1 for item in found] if backward else right + 1
    assert unjustified({**namespace, "expected": right, "actual": wrong}, backward=backward)
    assert not unjustified({**namespace, "expected": wrong, "actual": right}, backward=backward)


def _held(namespace):
    return namespace["x"], namespace["f"].weight


def test_the_class_has_a_name_of_its_own():
    source = "class Model: pass\ndef mine(gm, inputs):\n    return gm"
    text = script(PROGRAM, Context(Backend("mine", source=source), module=True))
    assert "f = Model_()\n" in text
    run(text)


def test_what_is_written_to_is_passed():
    write = Node("s", Op.METHOD, "add_", (Ref("scale"), 1), spec=NODES[2].spec)
    text = script(Program((*NODES[:4], write), ("m", "s")), EAGER)
    assert "self.weight = " in text and "register_buffer" not in text
    run(text)


def test_a_long_program_has_its_lines_from_before():
    calls = [
        Node(f"c{i}", Op.FUNCTION, ("torch.sin", "torch.cos")[i % 2], (Ref("w"),), spec=GRAD)
        for i in range(LONG + 1)
    ]
    program = Program((NODES[0], *calls), ("c1",))
    plain = script(program, Context(Backend("eager")))
    text = script(program, EAGER)
    assert "        w = self.w\n        c0 = torch.sin(w)\n" in text
    assert "    c0 = torch.sin(w)\n" in plain
    run(text)


def test_what_is_not_made_by_itself_is_not_held():
    marked = Tensor((2,), symbols=("s0",))
    program = Program((Node("w", Op.INPUT, spec=marked, owner="parameter"), *NODES[1:]), ("s",))
    with pytest.raises(Unmakeable):
        script(program, Context(module=True, marked=True))
