"""A factory makes exactly the tensor that its spec describes."""

from __future__ import annotations

import pytest
import torch

from torchcrux.capturing.lower import describe
from torchcrux.emit.inputs import Unmakeable, factory, uses_random
from torchcrux.program.ir import Node, Op, Value
from torchcrux.program.spec import Number, Opaque, Sequence, Tensor, contiguous_strides


def made(spec, **fields):
    node = Node("x", Op.INPUT, spec=spec, **fields)
    return eval(factory(node), {"torch": torch})


SPECS = [
    Tensor((2, 3)),
    Tensor(()),
    Tensor((0, 4)),
    Tensor((5,), "float16"),
    Tensor((2, 2), "bfloat16", requires_grad=True),
    Tensor((2, 2), requires_grad=True, is_leaf=False),
    Tensor((3,), "complex64"),
    Tensor((3,), "int64", low=0, high=9),
    Tensor((3,), "int32", low=-3, high=-1),
    Tensor((3,), "int64", low=0, high=0),
    Tensor((3,), "uint16", low=1, high=4),
    Tensor((4,), "bool", low=0, high=1),
    Tensor((4,), "bool", low=1, high=1),
    Tensor((2, 3), strides=(1, 2)),
    Tensor((2, 3, 4), strides=(1, 8, 2)),
    Tensor((2, 3), strides=(0, 1)),
    Tensor((2, 3), strides=(6, 2)),
    Tensor((2, 3), strides=(1, 2), requires_grad=True),
    Tensor((1, 3, 4, 5), strides=(60, 1, 15, 3)),
    Tensor((3, 3), strides=(1, 1)),
    Tensor((2, 3), "int64", strides=(1, 2), low=0, high=5),
    Tensor((2,), "float8_e4m3fn"),
]


@pytest.mark.parametrize("value", [Value.RANDOM, Value.ZEROS, Value.ONES])
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_the_tensor_is_as_described(spec, value):
    tensor = made(spec, value=value)
    assert tuple(tensor.shape) == spec.shape
    assert str(tensor.dtype) == f"torch.{spec.dtype}"
    assert tensor.requires_grad == spec.requires_grad
    assert tensor.is_leaf == (spec.is_leaf or not spec.requires_grad)
    strides = spec.strides if spec.strides is not None else contiguous_strides(spec.shape)
    for size, have, want in zip(spec.shape, tensor.stride(), strides, strict=True):
        assert size <= 1 or 0 in spec.shape or have == want
    if value is Value.RANDOM and spec.low is not None:
        assert int(tensor.long().min()) >= spec.low
        assert int(tensor.long().max()) <= spec.high


@pytest.mark.parametrize(
    "tensor",
    [
        torch.tensor([[1.5, -2.0], [0.1, float("inf")]]),
        torch.tensor([float("nan"), -0.0]),
        torch.tensor(3.25, dtype=torch.float64),
        torch.tensor([[1, 2], [3, 4]], dtype=torch.int32),
        torch.tensor([True, False]),
        torch.tensor([0.1, 1e-40], dtype=torch.bfloat16),
        torch.arange(6.0).reshape(2, 3).t(),
    ],
    ids=str,
)
def test_a_literal_is_exact(tensor):
    spec = describe(tensor)
    elements = tuple(tensor.reshape(-1).tolist())
    again = made(spec, value=Value.LITERAL, elements=elements)
    assert again.dtype == tensor.dtype
    assert again.stride() == tensor.stride()
    torch.testing.assert_close(again, tensor, rtol=0, atol=0, equal_nan=True)
    if tensor.is_floating_point():
        assert torch.equal(torch.signbit(again), torch.signbit(tensor))


def test_numbers_and_tuples():
    assert made(Number(3)) == 3
    pair = made(Sequence((Tensor((2,)), Tensor((3,), "int64", low=0, high=1))))
    assert [t.shape for t in pair] == [(2,), (3,)]


def test_what_has_no_factory_is_named():
    with pytest.raises(Unmakeable, match=r"x is Opaque\(what='a stream'\)"):
        made(Opaque("a stream"))


@pytest.mark.parametrize(
    "tensor",
    [
        torch.eye(3).to_sparse(),
        torch.eye(3).to_sparse_csr(),
        torch.quantize_per_tensor(torch.randn(2, 3), 0.25, 3, torch.qint8),
        torch.nested.nested_tensor([torch.ones(3, 2), torch.ones(1, 2)], layout=torch.jagged),
    ],
    ids=["coo", "csr", "quantized", "nested"],
)
def test_what_is_not_dense_is_made_of_what_is(tensor):
    again = made(describe(tensor))
    assert (again.layout, again.dtype) == (tensor.layout, tensor.dtype)
    if tensor.is_nested:
        assert [len(part) for part in again.unbind()] == [3, 1]
    else:
        assert again.shape == tensor.shape
    if tensor.is_quantized:
        assert (again.q_scale(), again.q_zero_point()) == (0.25, 3)


def test_the_rows_of_a_nested_tensor_must_be_as_many_as_it_has():
    with pytest.raises(Unmakeable, match="rows of the nested tensor x"):
        made(Tensor((5, 2), lengths=(3, 1)))


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (Tensor((3,)), "torch.arange(3.0)"),
        (Tensor((3,), requires_grad=True), "torch.arange(3.0, requires_grad=True)"),
        (Tensor((2, 3)), "torch.arange(6.0).view(2, 3)"),
        (Tensor((2, 3), requires_grad=True), "torch.arange(6.0).view(2, 3).requires_grad_()"),
        (Tensor((2, 3), strides=(1, 2)), "torch.arange(6.0).view(3, 2).t()"),
        (Tensor((3,), "bfloat16"), "torch.arange(3, dtype=torch.bfloat16)"),
        (Tensor((3,), "int64", low=0, high=9), "torch.arange(3)"),
        (Tensor((3,), "uint8", low=0, high=9), "torch.arange(3, dtype=torch.uint8)"),
        (Tensor(()), "torch.arange(1.0).view(())"),
    ],
)
def test_numbers_from_0(spec, text):
    node = Node("x", Op.INPUT, spec=spec, value=Value.ARANGE)
    assert factory(node) == text
    tensor = made(spec, value=Value.ARANGE)
    assert (tuple(tensor.shape), tensor.requires_grad) == (spec.shape, spec.requires_grad)
    assert sorted(tensor.flatten().tolist()) == [*range(spec.elements)]
    assert not uses_random(node)


def test_only_random_factories_need_a_seed():
    assert uses_random(Node("x", Op.INPUT, spec=Tensor((2,))))
    assert not uses_random(Node("x", Op.INPUT, spec=Tensor((2,), "int64", low=0, high=0)))
    assert not uses_random(Node("x", Op.INPUT, spec=Tensor((2,)), value=Value.ZEROS))
