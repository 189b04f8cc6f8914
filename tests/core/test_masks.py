"""Sets of items as integers."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from torchcrux.core.search.masks import as_chunk, everything, mask_of, members, split, windows

ITEMS = st.sets(st.integers(0, 300))


@settings(deadline=None)
@given(ITEMS)
def test_items_survive_the_way_to_a_mask_and_back(items):
    mask = mask_of(items)
    assert mask == sum(1 << item for item in items)
    assert list(members(mask)) == list(as_chunk(mask)) == sorted(items)


@settings(deadline=None)
@given(st.integers(0, 100), st.integers(0, 100))
def test_a_run_stays_a_range(start, length):
    chunk = range(start, start + length)
    assert mask_of(chunk) == sum(1 << item for item in chunk)
    if length:
        assert as_chunk(mask_of(chunk)) == chunk


def test_everything():
    assert [everything(n) for n in (0, 1, 3)] == [0, 1, 7]


@settings(deadline=None)
@given(
    st.integers(0, 60).flatmap(
        lambda n: st.tuples(
            st.just(n),
            st.integers(1, 80),
            st.none() | st.lists(st.sampled_from([0.0, 1.0, 50.0]), min_size=n, max_size=n),
        )
    )
)
def test_pieces_are_a_partition_in_order_none_empty(case):
    n, count, weights = case
    pieces = split(range(n), count, weights)
    assert [item for piece in pieces for item in piece] == list(range(n))
    assert len(pieces) == min(count, n)
    assert all(pieces)


def test_pieces_weigh_alike():
    pieces = split(range(12), 3, [10.0, 10.0] + [1.0] * 10)
    assert [list(piece) for piece in pieces] == [[0], [1], list(range(2, 12))]


@settings(deadline=None)
@given(st.integers(1, 300))
def test_whatever_fits_into_half_a_window_lies_in_one(n):
    found = list(windows(n))
    assert sorted(found, key=int.bit_count) == found
    assert all(0 < mask <= everything(n) for mask in found)
    size = -(-n // 8) // 2
    for start in range(n - size):
        need = everything(size) << start
        assert any(need & ~mask == 0 for mask in found)
