"""Which flips of integers and bools are excused."""

from __future__ import annotations

import pytest
import torch

from torchcrux.capturing.accuracy import AccuracyChecker
from torchcrux.capturing.watched import CheckFailed
from torchcrux.oracle.short_products import matters
from torchcrux.oracle.undecided import moved, settled


def found(graph, run, *inputs):
    """What the check of a call finds."""
    try:
        AccuracyChecker().of(torch.fx.symbolic_trace(graph)).call(run, inputs)
    except CheckFailed as reason:
        return reason.failure
    return None


def threshold(x):
    return x * 3 > 0.3


def test_a_flip_at_the_threshold_is_excused():
    x = torch.tensor([0.1, 0.5, -1.0])  # 0.1 * 3 rounds to either side of 0.3
    flipped = threshold(x)
    flipped[0] = ~flipped[0]
    assert found(threshold, lambda *_: flipped, x) is None


def test_a_flip_elsewhere_is_not():
    x = torch.tensor([0.1, 0.5, -1.0])
    flipped = threshold(x)
    flipped[1] = ~flipped[1]
    assert found(threshold, lambda *_: flipped, x).metric["first"] == 1


def test_an_index_that_eager_never_gives_is_not_excused():
    x = torch.tensor([1.0, 1.0 + 1e-7, 0.0])
    assert found(lambda x: x.argmax(), lambda *_: torch.tensor(0), x) is None
    assert found(lambda x: x.argmax(), lambda *_: torch.tensor(2), x) is not None


def test_integers_of_integers_are_never_excused():
    x = torch.tensor([3, 1, 2])
    assert found(lambda x: x.argmin(), lambda *_: torch.tensor(0), x) is not None


def test_another_dtype_is_not_excused_nor_another_layout():
    x = torch.tensor([0.1, 0.5, -1.0, 0.2])
    numbers = threshold(x).to(torch.uint8)
    wrong = found(lambda x: threshold(x).to(torch.uint8), lambda *_: numbers.bool(), x)
    assert wrong.metric["attribute"] == "dtype"
    rows = threshold(x).reshape(2, 2)
    columns = rows.t().contiguous().t()
    (kept,) = settled([rows], [columns], lambda seed: [rows])
    assert kept.stride() == (1, 2)


@pytest.mark.parametrize("dtype", [torch.uint16, torch.uint32, torch.uint64, torch.bool])
def test_any_integers_are_looked_at(dtype):
    one, two = torch.tensor([1, 0]).to(dtype), torch.tensor([1, 1]).to(dtype)
    (kept,) = settled([one], [two], lambda seed: [two if seed else one])
    assert torch.equal(kept, one)


def test_a_float_beside_them_still_counts():
    x = torch.tensor([0.1, 0.5])

    def graph(x):
        return x * 3 > 0.3, x + 1

    flipped = torch.tensor([not bool((x * 3 > 0.3)[0]), True])
    assert found(graph, lambda *_: (flipped, x + 1), x) is None
    assert found(graph, lambda *_: (flipped, x + 1.1), x).metric["index"] == 1


def test_moved_inputs_are_close_and_the_same_for_a_seed():
    x = torch.randn(100, requires_grad=True)
    one, two = moved(x, 1), moved(x, 2)
    assert one.requires_grad and not torch.equal(one, two) and torch.equal(one, moved(x, 1))
    assert float(((one - x) / x).abs().max()) < 1e-6
    n = torch.arange(3)
    assert torch.equal(moved(n, 1), n) and moved(n, 1) is not n
    assert moved("text", 1) == "text"


def test_inputs_are_moved_further_where_products_may_be_short():
    x = torch.rand(100) + 1
    for seed in range(4):
        change = ((moved(x, seed, short=True) - x) / x).abs().max()
        assert 2**-11 < change < 2**-9
    wide = torch.ones(3, dtype=torch.bfloat16)
    assert torch.equal(moved(wide, 1, short=True), moved(wide, 1))


def test_short_products_matter_where_they_change_a_float():
    one, two = torch.ones(2), torch.tensor([1.0, 1.1])
    assert matters([one], [two]) and not matters([one], [one]) and not matters([one], None)
    assert not matters([one > 1], [two > 1])


def test_what_cannot_be_run_again_excuses_nothing():
    eager, compiled = [torch.tensor([True])], [torch.tensor([False])]
    assert settled(eager, compiled, lambda seed: None)[0].tolist() == [False]
