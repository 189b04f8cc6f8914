"""What counts as a compilation that takes too long."""

import pytest

from torchcrux.oracle.failure import Failure, Kind, Stage
from torchcrux.oracle.signature import same
from torchcrux.oracle.slowness import bound_of, named_bound, says_slow, slow


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
    assert named_bound(message, seconds=10.0) == bound


def test_the_bound_goes_with_the_failure():
    assert bound_of(Failure.from_json(slow(10.0, 6.4).to_json())) == 6.4
    assert bound_of(Failure(Kind.COMPILE_ERROR, Stage.BACKEND, (), ())) is None


def test_only_the_assertion_of_a_script_of_ours_says_slow():
    assert says_slow(AssertionError("compiling took 7.0 s, more than 6.4 s"))
    assert not says_slow(RuntimeError("compiling took 7.0 s, more than 6.4 s"))
    assert not says_slow(AssertionError("took long"))


def test_slow_is_slow_however_long_it_took():
    assert same(slow(10.0, 6.4), [], slow(6.5, 6.4), [])
