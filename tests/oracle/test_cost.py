"""What counts as too long, or as too much memory."""

import pytest

from torchcrux.oracle.cost import MEBIBYTES, SECONDS, Bound, bound_of, named_bound, says_costly
from torchcrux.oracle.failure import Failure, Kind, Stage
from torchcrux.oracle.signature import same


@pytest.mark.parametrize(
    ("message", "bound"),
    [
        ("compile time budget exceeded: 10.0 s > 6.4 s", 6.4),
        ("took 10.0s, at most 500 ms allowed for the rest and 2 seconds for this", 2.0),
        ("not done within 0.1 min", 6.0),
        ("took 9.99 seconds", None),
        ("limit is 30 s", None),
        ("expected 5 samples, found 3 sizes", None),
        ("only 200 ms are allowed", None),
    ],
)
def test_a_script_says_itself_what_is_too_long(message, bound):
    assert named_bound(message, SECONDS, spent=10.0) == bound


@pytest.mark.parametrize(
    ("message", "bound"),
    [
        ("peak memory 3.5 GiB, at most 2 GiB", 2048.0),
        ("more than 1024MiB", 1024.0),
        ("more than 8 MiB", None),
        ("expected 5 GB/s", 5e9 / 2**20),
        ("300 MBit", None),
    ],
)
def test_a_script_says_itself_what_is_too_much_memory(message, bound):
    assert named_bound(message, MEBIBYTES) == bound


BOUNDS = [Bound(SECONDS, 6.4), Bound(MEBIBYTES, 500.0)]


@pytest.mark.parametrize("bound", BOUNDS)
def test_the_bound_goes_with_the_failure(bound):
    assert bound_of(Failure.from_json(bound.exceeded(1000.0).to_json())) == bound
    assert bound_of(Failure(Kind.COMPILE_ERROR, Stage.BACKEND, (), ())) is None
    assert bound_of(Failure(Kind.MEMORY, Stage.RUN, (("MemoryError", ""),), ())) is None


@pytest.mark.parametrize("bound", BOUNDS)
def test_only_the_assertion_of_a_script_of_ours_says_so(bound):
    message = bound.exceeded(1000.0).message
    assert says_costly(AssertionError(message)).kind is bound.measure.kind
    assert says_costly(RuntimeError(message)) is None
    assert says_costly(AssertionError("took long")) is None


@pytest.mark.parametrize("bound", BOUNDS)
def test_too_much_is_too_much_however_much_it_was(bound):
    assert same(bound.exceeded(1000.0), [], bound.exceeded(600.0), [])
    assert not same(BOUNDS[0].exceeded(1000.0), [], BOUNDS[1].exceeded(1000.0), [])


def test_a_check_has_a_bound_or_none():
    assert [Bound.parse(text) for text in ("slow:6.4", "memory:500")] == BOUNDS
    assert [Bound.parse(text) for text in ("error", "accuracy")] == [None, None]
