"""Which programs draw random numbers: also in bodies, and by operators of the script."""

import pytest

from torchcrux.emit.random import draws
from torchcrux.program.ir import Body, Node, Op, Program, Ref
from torchcrux.program.spec import Tensor

X = Node("x", Op.INPUT, spec=Tensor((2,)))
OWN = "torch.ops.noise.mask.default"


def program(target, *args):
    return Program((X, Node("y", Op.FUNCTION, target, (Ref("x"), *args))), ("y",))


def inside(target, *args):
    hop = "torch.ops.higher_order.tag_activation_checkpoint"
    return Program((X, Node("y", Op.FUNCTION, hop, (Body(program(target, *args)), Ref("x")))), ())


@pytest.mark.parametrize("of", [program, inside])
def test_what_draws(of):
    assert draws(of("torch.rand_like"))
    assert draws(of("torch.nn.functional.dropout", 0.5))
    assert not draws(of("torch.nn.functional.dropout", 0.5, False))
    assert not draws(of("torch.relu"))


@pytest.mark.parametrize("of", [program, inside])
def test_an_operator_draws_if_its_text_does(of):
    source = "def mask(x):\n    return torch.{}(x)\n"
    name = "torch.ops.noise.mask"
    assert draws(of(OWN), [(name, source.format("rand_like"))])
    assert not draws(of(OWN), [(name, source.format("brand"))])
    assert not draws(of(OWN), [("torch.ops.noise.other", source.format("rand_like"))])
