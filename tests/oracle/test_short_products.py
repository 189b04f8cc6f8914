"""Products that PyTorch may compute with fewer bits than its operands have."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from torchcrux import global_flags
from torchcrux.capturing.accuracy import AccuracyChecker
from torchcrux.capturing.watched import CheckFailed
from torchcrux.oracle.numerics import compare, upcast
from torchcrux.oracle.short_products import coarse, short_products

x = torch.rand(64, 64, generator=torch.Generator().manual_seed(0)) + 1


def products(a):
    return [a @ a, F.linear(a, a, a[0]), F.conv2d(a[None, None], a[None, None, :3, :3])]


@pytest.fixture
def short():
    put_back = global_flags.kept()
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"
    torch.backends.mkldnn.conv.fp32_precision = "bf16"
    yield
    put_back()


def test_operands_lose_the_bits_that_they_may_lose():
    whole = products(x)
    with short_products({"matmul": 10}):
        short = products(x)
    for one, two, kind in zip(whole, short, ("matmul", "matmul", "conv"), strict=True):
        error = float(((one - two) / one).abs().max())
        assert error == 0 if kind == "conv" else 1e-6 < error < 2**-9


def test_a_summand_keeps_its_bits():
    ones, bias = torch.ones(4, 4), torch.full((4,), 1 + 2**-20)
    with short_products({"matmul": 7}):
        assert torch.equal(F.linear(ones, ones, bias), torch.addmm(bias, ones, ones))
        assert float(torch.addmm(bias, ones * 0, ones)[0, 0]) == 1 + 2**-20


def test_nothing_is_coarse_where_products_are_of_all_bits():
    assert coarse(lambda: products(x), [x]) is None


def test_what_a_compiler_may_compute_as_well_is_no_mismatch(short):
    eager = [(x.double() @ x.double()).float()]
    truth = [upcast(x) @ upcast(x)]
    with short_products({"matmul": 7}):
        compiled = [x @ x]
    rough = coarse(lambda: [x @ x], [x])
    assert compare(eager, compiled, truth) is not None
    assert compare(eager, compiled, truth, rough=rough) is None


def signs(a):
    product = a @ a
    return product, product > 144


def check(run):
    try:
        AccuracyChecker().of(torch.fx.symbolic_trace(signs)).call(run, [x])
    except CheckFailed as found:
        return found.failure.metric
    return None


def short_signs(a):
    with short_products({"matmul": 7}):
        return signs(a)


def other_signs(a):
    """With products of the length that eager does not have, which depends on the processor."""
    long = (a.double() @ a.double()).float()
    return short_signs(a) if torch.equal(long > 144, signs(a)[1]) else (long, long > 144)


def all_turned(a):
    product, above = other_signs(a)
    return product, ~above


def test_a_decision_that_short_products_turn_is_no_mismatch(short):
    assert not torch.equal(signs(x)[1], other_signs(x)[1])
    assert check(other_signs) is None
    assert check(all_turned)["index"] == 1


def test_a_decision_counts_where_products_are_long():
    def turned(a):
        return signs(a)[0], short_signs(a)[1]

    assert check(turned)["index"] == 1


def test_a_wrong_result_is_a_mismatch_all_the_same(short):
    eager, truth = [(x.double() @ x.double()).float()], [upcast(x) @ upcast(x)]
    rough = coarse(lambda: [x @ x], [x])
    assert compare(eager, [eager[0] * 1.05], truth, rough=rough) is not None


def test_gradients_lose_the_same_bits(short):
    w = x.clone().requires_grad_()

    def gradients():
        out = (w @ x).sum() + F.conv2d(x[None, None], w[None, None, :3, :3]).sum()
        return torch.autograd.grad(out, [w])

    (whole,), (rough,) = gradients(), coarse(gradients, [x])
    error = float(((whole - rough) / whole).abs().max())
    assert 1e-5 < error < 2**-6


def test_what_raises_tells_nothing(short):
    assert coarse(lambda: [x @ x[:3]], [x]) is None
