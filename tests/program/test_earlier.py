"""Sizes that symbols stood for in another call."""

import pytest

from torchcrux.program.earlier import other_sizes, sized, symbols_of
from torchcrux.program.ir import Node, Op, Program
from torchcrux.program.spec import Number, Sequence, Tensor


def test_symbols_of_dimensions_and_numbers():
    inputs = (
        Node("x", Op.INPUT, spec=Tensor((4, 8), symbols=("s0", "2*s0"))),
        Node("n", Op.INPUT, spec=Number(7, "s1")),
        Node("y", Op.INPUT, spec=Tensor((3,))),
    )
    assert symbols_of(Program(inputs, ())) == {"s0": 4, "s1": 7}


@pytest.mark.parametrize(
    ("symbol", "size"),
    [
        ("s0", 5),
        ("2*s0 + 1", 11),
        ("s0*s1", 15),
        ("(s0//2)", 2),
        ("-s1 + s0", 2),
        ("Max(1, s0)", 9),  # stays as it is
        ("s0 +", 9),
        ("u0", 9),
        ("s0//(s1 - 3)", 9),
        ("", 9),
    ],
)
def test_the_value_of_an_expression(symbol, size):
    spec = sized(Tensor((9, 2), symbols=(symbol, "s1")), {"s0": 5, "s1": 3})
    assert spec.shape == (size, 3)


def test_the_order_of_dimensions_stays():
    sizes = {"s0": 5}
    transposed = Tensor((4, 3), strides=(1, 4), symbols=("s0", ""), memory="a", offset=2)
    assert sized(transposed, sizes) == Tensor((5, 3), strides=(1, 5), symbols=("s0", ""))
    expanded = sized(Tensor((4, 3), strides=(0, 1), symbols=("s0", "")), sizes)
    assert (expanded.shape, expanded.strides) == ((5, 3), (0, 1))
    assert sized(Sequence((Number(4, "s0"), transposed)), sizes).items[0] == Number(5, "s0")
    assert sized(Number(4), sizes) == Number(4)


def test_only_a_call_with_other_sizes_has_one_before_it():
    def of(size):
        return Program((Node("x", Op.INPUT, spec=Tensor((size, 2), symbols=("s0", ""))),), ())

    assert other_sizes(of(4), of(8)) == ((("s0", 4),),)
    assert other_sizes(of(4), of(4)) == ()
