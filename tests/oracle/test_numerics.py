"""Rounding is no failure, and a failure is no rounding."""

import json
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from torchcrux.oracle.numerics import compare, is_slip, upcast
from torchcrux.oracle.tolerance import Tolerance


def seeded(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def split_matmul(a, b, parts=4):
    """The product summed in another order."""
    return sum(x @ y for x, y in zip(a.chunk(parts, 1), b.chunk(parts, 0), strict=True))


def deep(x, weights, matmul=torch.matmul):
    for weight in weights:
        x = F.gelu(matmul(x, weight)) + 0.1 * x
    return x


@pytest.mark.parametrize("seed", range(2))
def test_another_order_of_summation_in_60_layers_is_no_mismatch(seed):
    weights = [seeded(64, 64, seed=seed * 100 + i) / 5 for i in range(60)]
    x = seeded(32, 64, seed=seed + 7)
    eager, compiled = deep(x, weights), deep(x, weights, split_matmul)
    reference = deep(x.double(), [weight.double() for weight in weights])
    with pytest.raises(AssertionError):
        torch.testing.assert_close(compiled, eager)  # the tolerances alone would say so
    assert compare([eager], [compiled], [reference]) is None
    wrong = compiled.clone()
    wrong[3, 5] *= 1.02
    assert compare([eager], [wrong], [reference]).first == 3 * 64 + 5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("seed", range(3))
def test_fused_in_float32_is_no_mismatch(dtype, seed):
    x, w = seeded(16, 128, seed=seed, dtype=dtype), seeded(128, 32, seed=seed + 50, dtype=dtype)
    eager = F.softmax(F.gelu(x @ w * 0.3) * 2, -1)
    compiled = F.softmax(F.gelu(x.float() @ w.float() * 0.3) * 2, -1).to(dtype)
    reference = F.softmax(F.gelu(x.double() @ w.double() * 0.3) * 2, -1)
    assert compare([eager], [compiled], [reference]) is None


def test_a_long_sum_is_no_mismatch():
    x = seeded(1 << 20) + 1
    eager, compiled = x.sum(), x.view(1024, 1024).sum(0).flip(0).cumsum(0)[-1]
    assert compare([eager], [compiled], [x.double().sum()]) is None


def test_softmax_by_another_formula_is_no_mismatch():
    x = seeded(64, 1000) * 10
    assert (
        compare([x.softmax(-1)], [(x - x.logsumexp(-1, True)).exp()], [x.double().softmax(-1)])
        is None
    )


def test_cancellation_beside_large_numbers_is_no_mismatch():
    x = torch.cat([seeded(4096) * 1e4, seeded(4096)])
    eager, compiled = (x + 1e5) - 1e5, (x - 3e4 + 1.3e5) - 1e5
    assert compare([eager], [compiled], [x.double()]) is None


def test_flushed_denormals_are_no_mismatch():
    x = torch.tensor([1e-40, -3e-39, 1.0])
    assert compare([x], [torch.where(x.abs() < 1e-38, 0, x)], [x.double()]) is None
    assert compare([x], [torch.where(x.abs() < 1e-38, 0, x)]) is None


def test_indices_that_flip_for_eager_too_are_no_mismatch():
    exact = torch.tensor([1.0, 1.0 + 1e-9, 0.5], dtype=torch.float64)
    eager, reference = exact.float().argmax(), exact.argmax()
    assert int(eager) != int(reference)
    assert compare([eager], [reference], [reference]) is None
    assert compare([eager], [reference]).attribute == "values"


def test_ties_of_topk_that_float64_resolves_otherwise_are_no_mismatch():
    exact = (torch.arange(64, dtype=torch.float64) * 1e-10 + 1).flip(0)
    values, eager = exact.float().topk(5)
    _, reference = exact.flip(0).topk(5)
    compiled = eager.flip(0)
    assert compare([values, eager], [values, compiled], [exact.topk(5)[0], reference]) is None


def test_eager_overflow_that_the_compiler_avoids_is_no_mismatch():
    x = torch.full((4,), 300.0, dtype=torch.float16)
    eager, compiled = x * x / x, (x.float() * x.float() / x.float()).half()
    assert eager.isinf().all()
    assert compare([eager], [compiled], [x.double()]) is None
    assert compare([eager], [compiled]).count == 4


@pytest.mark.parametrize("size", [1, 64, 1000])
def test_one_division_by_almost_zero_is_no_mismatch(size):
    a, b = seeded(size, 64, seed=size), seeded(64, seed=2)
    eager, compiled = 1 / (a @ b), 1 / (a * b).flip(1).cumsum(1)[:, -1]
    assert compare([eager], [compiled], [1 / (a.double() @ b.double())]) is None


def test_an_error_of_most_elements_is_a_mismatch_however_coarse_eager_is():
    reference = seeded(4096).double()
    noise = 0.02 * seeded(4096, seed=5).double() * reference
    eager, compiled = (reference + noise).bfloat16(), (reference * 1.1 - noise).bfloat16()
    assert compare([eager], [compiled], [reference]).count > 1000
    assert compare([eager], [(reference - noise).bfloat16()], [reference]) is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("size", [1, 7, 4096])
def test_a_factor_of_1_04_is_a_mismatch_in_any_dtype_and_size(dtype, size):
    x = seeded(size, dtype=dtype) + 3
    eager = x.exp()
    found = compare([eager], [(x.float().exp() * 1.04).to(dtype)], [x.double().exp()])
    assert found is not None and found.count > size / 2 and found.attribute == "values"


@pytest.mark.parametrize("size", [1, 5, 512])
def test_a_factor_of_1_02_is_a_mismatch_in_float32(size):
    x = seeded(size)
    found = compare([x.exp()], [x.exp() * 1.02], [x.double().exp()])
    assert found.count == size and found.max_rel == pytest.approx(0.02, rel=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_relu_for_gelu_is_a_mismatch(dtype):
    x = seeded(8, 8, dtype=dtype)
    assert compare([F.gelu(x)], [F.relu(x)], [F.gelu(x.double())]) is not None


def test_a_small_error_among_small_numbers_beside_large_ones_is_a_mismatch():
    x = torch.cat([seeded(4096) * 1e6, seeded(4096)])
    reference = x.double()
    eager = x * (1 + seeded(8192, seed=3) * 1e-6)
    compiled = eager.clone()
    compiled[5000] += 0.02
    assert compare([eager], [compiled], [reference]).first == 5000


def test_dropped_eps_on_an_exact_zero_is_a_mismatch():
    x = torch.tensor([[0.0, 0.0], [1.0, 2.0]])

    def norm(x, eps):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)

    found = compare([norm(x, 1e-6)], [norm(x, 0.0)], [norm(x.double(), 1e-6)])
    assert (found.first, found.count, found.compiled) == (0, 2, "nan")


@pytest.mark.parametrize(
    ("eager", "compiled", "differs"),
    [
        ([1.0, float("nan")], [1.0, float("nan")], False),
        ([1.0, float("nan")], [1.0, 0.0], True),
        ([1.0, 0.0], [1.0, float("nan")], True),
        ([float("inf")], [float("-inf")], True),
        ([float("inf")], [float("inf")], False),
        ([3.0e38], [float("inf")], True),
    ],
)
@pytest.mark.parametrize("known", [False, True])
def test_nan_and_inf_stay_in_their_places(eager, compiled, differs, known):
    eager, compiled = torch.tensor(eager), torch.tensor(compiled)
    found = compare([eager], [compiled], [eager.double()] if known else None)
    assert (found is not None) == differs


@pytest.mark.parametrize(
    ("eager", "compiled", "attribute"),
    [
        ([torch.ones(2)], [torch.ones(2), 1], "structure"),
        ([torch.ones(2)], [None], "type"),
        ([1], [1.0], "type"),
        ([True], [1], "type"),
        ([torch.ones(2, dtype=torch.bfloat16)], [torch.ones(2)], "dtype"),
        ([torch.ones(2)], [torch.ones(2, 1)], "shape"),
        ([torch.ones(2)], [torch.ones(2, device="meta")], "device"),
        ([torch.ones(2, 3)], [torch.ones(2, 3).to_sparse()], "layout"),
        ([3], [4], "values"),
        ([1.0], [1.001], "values"),
        ([1j], [1.001j], "values"),
        (["a"], ["b"], "values"),
    ],
)
def test_what_differs_has_a_name(eager, compiled, attribute):
    found = compare(eager, compiled)
    assert found.attribute == attribute
    assert json.loads(json.dumps(found.to_json()))["attribute"] == attribute
    assert str(found)


def test_strides_count_only_if_asked():
    a, b = torch.ones(2, 3), torch.ones(3, 2).t()
    assert compare([a], [b]) is None
    assert compare([a], [b], stride=True).attribute == "stride"


@pytest.mark.parametrize(
    "leaf",
    [
        None,
        3,
        2.5,
        float("nan"),
        "text",
        torch.empty(0),
        torch.empty(0, 3, dtype=torch.int64),
        torch.tensor(2.0),
        torch.ones(3, requires_grad=True),
        torch.ones(3, requires_grad=True) * 2,
        torch.tensor([True, False]),
        torch.tensor([1 + 2j, complex("nan")]),
        torch.tensor([1 + 2j]).conj(),
        torch.arange(5, dtype=torch.uint8),
        torch.tensor([1, 2], dtype=torch.uint16),
        torch.tensor([1, 2], dtype=torch.uint64),
        torch.ones(3).to(torch.float8_e4m3fn),
        torch.eye(3).to_sparse(),
        torch.eye(3).to_sparse_csr(),
        torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
        torch.ones(3).expand(4, 3),
    ],
    ids=str,
)
def test_anything_equals_itself_with_and_without_a_reference(leaf):
    assert compare([leaf], [leaf]) is None
    assert compare([leaf], [leaf], [upcast(leaf)]) is None


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (torch.tensor([1, 2], dtype=torch.uint16), torch.tensor([1, 3], dtype=torch.uint16)),
        (torch.tensor([1, 2], dtype=torch.uint64), torch.tensor([1, 3], dtype=torch.uint64)),
        (torch.tensor([True]), torch.tensor([False])),
        (torch.ones(3).to(torch.float8_e5m2), torch.full((3,), 2.0).to(torch.float8_e5m2)),
        (torch.eye(3).to_sparse(), (2 * torch.eye(3)).to_sparse()),
        (
            torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
            torch.quantize_per_tensor(torch.ones(3) * 2, 0.1, 0, torch.qint8),
        ),
        (torch.tensor([1 + 2j]), torch.tensor([1 - 2j])),
    ],
    ids=str,
)
def test_other_values_of_odd_dtypes_are_a_mismatch(a, b):
    assert compare([a], [b], [upcast(a)]).attribute == "values"


def test_tolerances_can_be_given():
    a = torch.ones(3)
    assert compare([a], [a * 1.05]) is not None
    assert compare([a], [a * 1.05], tolerance=Tolerance(0.1, 0.0)) is None
    assert compare([a], [a + 1e-7], [a + 1e-7], tolerance=Tolerance(0.0, 0.0)) is not None


def test_chunks_do_not_matter(monkeypatch):
    x = seeded(1000)
    wrong = x.clone()
    wrong[[400, 901]] += 1
    whole = compare([x], [wrong], [x.double()])
    monkeypatch.setattr("torchcrux.oracle.closeness._CHUNK", 64)
    assert compare([x], [wrong], [x.double()]) == whole
    assert (whole.first, whole.count, whole.total) == (400, 2, 1000)


def test_upcast_is_a_copy_with_the_same_strides_and_requires_grad():
    x = torch.randn(3, 4).t().requires_grad_()
    up = upcast(x)
    assert up.dtype is torch.float64 and up.stride() == x.stride()
    assert up.requires_grad and up.is_leaf
    double = torch.ones(2, dtype=torch.float64)
    upcast(double).zero_()
    assert double.sum() == 2
    ids = torch.arange(3)
    assert upcast(ids).dtype is torch.int64 and upcast(ids) is not ids
    assert upcast(torch.ones(2, dtype=torch.complex64)).dtype is torch.complex128
    assert upcast("text") == "text"


def test_upcast_of_overlapping_memory_can_be_written_to():
    upcast(torch.ones(1, 3).expand(4, 3)).add_(1)
    upcast(torch.ones(10).as_strided((4, 4), (2, 1))).add_(1)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(width=32, allow_nan=True, allow_infinity=True), min_size=1, max_size=20),
    st.booleans(),
)
def test_a_result_equal_to_eager_or_to_the_reference_is_never_a_mismatch(values, known):
    eager = torch.tensor(values)
    reference = torch.tensor(values, dtype=torch.float64)
    assert compare([eager], [eager.clone()], [reference * 1.5] if known else None) is None
    assert compare([eager * 1.5], [eager], [reference]) is None


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.015625, 1e6, width=32), min_size=1, max_size=20), st.integers(0, 19))
def test_one_element_off_by_a_tenth_is_found(values, at):
    eager = torch.tensor(values)
    wrong = eager.clone()
    wrong[at % len(values)] *= 1.1
    found = compare([eager], [wrong], [eager.double()])
    assert found.first == at % len(values) and found.count == 1


def test_rounding_is_no_remainder_of_a_gross_error():
    eager = torch.linspace(0.5, 2, 100)
    gross = compare([eager], [eager.flip(0)]).to_json()
    fine = compare([eager], [eager * (1 + 1e-2)]).to_json()
    rounding = compare([eager], [eager * (1 + 1e-5)])
    worse = compare([eager], [eager * (1 + 1e-2)])
    lost = compare([eager], [torch.full_like(eager, math.nan)])
    assert is_slip(gross, rounding)
    assert not is_slip(gross, worse) and not is_slip(gross, lost)
    assert not is_slip(fine, rounding) and not is_slip(None, rounding)
    half = eager.to(torch.bfloat16)
    assert is_slip(gross, compare([half], [half * 1.03]))


def test_what_may_be_rounding_does_not_hide_a_later_gross_error():
    eager = torch.linspace(0.5, 2, 100)
    rounded = eager * (1 + 1e-5)
    assert compare([eager] * 3, [rounded, eager.flip(0), rounded]).index == 1
    assert compare([eager] * 3, [eager, rounded, rounded]).index == 1


def test_a_tensor_whose_memory_is_too_short_has_other_values():
    whole, short = torch.ones(3), torch.ones(3)
    short.untyped_storage().resize_(8)
    found = compare([whole], [short], [whole.double()])
    assert (found.attribute, found.compiled) == ("values", "one beyond the end of its memory")
    assert compare([whole[:0]], [short[:0]]) is None
