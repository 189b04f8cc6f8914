"""A wrong gradient is one that shows in the norm of the gradient."""

import pytest
import torch

from torchcrux.oracle.gradients import GRADIENT, compare_gradients


def seeded(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_factor_of_two_is_wrong():
    right = seeded(8)
    found = compare_gradients([None, right], [None, right / 2], [None, right.double()])
    assert (found.index, found.attribute) == (1, GRADIENT)
    assert "gradient of input 1" in str(found)


def test_one_wrong_element_of_a_small_gradient_is_wrong():
    right = seeded(16, 16)
    wrong = right.clone()
    wrong[3, 3] = -wrong[3, 3] + 1
    assert compare_gradients([right], [wrong], [right.double()]) is not None


def test_one_flipped_derivative_among_a_million_is_rounding():
    right = seeded(1 << 20)
    flipped = right.clone()
    flipped[77] = 0
    assert compare_gradients([right], [flipped], [right.double()]) is None
    flipped[: 1 << 18] = 0
    assert compare_gradients([right], [flipped], [right.double()]) is not None


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_is_wrong_wherever_it_is(bad):
    right = seeded(1 << 12)
    wrong = right.clone()
    wrong[5] = bad
    assert compare_gradients([right], [wrong], [right.double()]) is not None
    assert compare_gradients([wrong], [wrong.clone()], None) is None


def test_a_missing_gradient_is_one_of_zeros():
    zeros, ones = torch.zeros(3), torch.ones(3)
    assert compare_gradients([None], [zeros], None) is None
    assert compare_gradients([zeros], [None], None) is None
    assert compare_gradients([None], [None], None) is None
    assert compare_gradients([None], [ones], None) is not None


def test_the_reference_decides():
    right = seeded(64, seed=3)
    off = right * (1 + 1e-4)
    exact = off.double()
    assert compare_gradients([right], [off], [exact]) is None
    assert compare_gradients([right * 0.9], [right], None) is not None
