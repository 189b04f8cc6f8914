"""A reference in double precision where a program names a precision."""

import pytest
import torch

from torchcrux.oracle.widening import in_double, widened


def always(found):
    return True


def product(x, w):
    return x.float() @ w


def test_casts_do_not_keep_a_program_from_double_precision():
    x, w = torch.full((2, 3), 1 / 3, dtype=torch.float64), torch.ones(3, 2, dtype=torch.float64)
    with pytest.raises(RuntimeError):
        product(x, w)
    found = in_double(lambda: product(x, w), always)
    assert found.dtype is torch.float64
    assert torch.equal(found, x @ w)


def test_a_cast_that_is_taken_is_meant():
    x = torch.full((2,), 1 / 3, dtype=torch.float64)
    assert torch.equal(in_double(lambda: x.half().double(), always), x.half().double())


@pytest.mark.parametrize(
    "make",
    [
        lambda x: torch.ones(3) @ x,
        lambda x: torch.tensor([1.0, 2.0, 3.0]) @ x,
        lambda x: torch.ones(3, dtype=torch.float16) @ x,
        lambda x: torch.zeros(3).index_add_(0, torch.tensor([1]), x[:1]),
        lambda x: torch.einsum("i,i", x.to(torch.bfloat16), x),
    ],
)
def test_what_a_program_makes_itself_is_wide_as_well(make):
    x = torch.rand(3, dtype=torch.float64)
    assert in_double(lambda: make(x), always).dtype is torch.float64


def test_new_random_numbers_are_those_that_would_be_drawn():
    torch.manual_seed(0)
    drawn = torch.rand(4)
    with widened():
        torch.manual_seed(0)
        wide = torch.rand(4)
    assert wide.dtype is torch.float64
    assert torch.equal(wide, drawn.double())


def test_bits_stay_bits():
    x = torch.ones(2)
    with widened():
        assert x.view(torch.int32).tolist() == [0x3F800000] * 2


def test_gradients_are_wide():
    x = torch.rand(2, 3, dtype=torch.float64, requires_grad=True)
    w = torch.rand(3, 2, dtype=torch.float64)
    (found,) = in_double(lambda: torch.autograd.grad(product(x, w).sum(), x), always)
    assert torch.allclose(found, torch.autograd.grad((x @ w).sum(), x)[0])


def test_what_is_another_result_is_no_reference():
    x, w = torch.ones(2, 3, dtype=torch.float64), torch.ones(3, 2, dtype=torch.float64)
    assert in_double(lambda: product(x, w), lambda found: False) is None


def test_what_raises_in_any_precision_is_none():
    assert in_double(lambda: torch.ones(2) @ torch.ones(3), always) is None
    assert in_double(lambda: None, always) is None
