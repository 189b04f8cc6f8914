"""The error as it stands below a repro."""

from __future__ import annotations

import pytest

from torchcrux.explain.note import conditions, note, shortened
from torchcrux.oracle.failure import Failure, Kind, Stage


def failure(name, message):
    return Failure(Kind.COMPILE_ERROR, Stage.BACKEND, ((name, message),), ())


@pytest.mark.parametrize(
    ("name", "message", "expected"),
    [
        (
            "builtins.AssertionError",
            "Tensor-likes are not close!\n\nMismatched elements: 1 / 1 (100.0%)\n"
            "Greatest absolute difference: 0.1586552858352661 at index (0,) (up to 1e-05 allowed)\n"
            "Greatest relative difference: 0.1885734647512436 at index (0,)",
            "AssertionError: Tensor-likes are not close! "
            "Greatest absolute difference: 0.1587 at index (0,)",
        ),
        (
            "builtins.AssertionError",
            "Scalars are not equal!\n\nExpected 112 but got -400.\nAbsolute difference: 512",
            "AssertionError: Scalars are not equal! Expected 112 but got -400.",
        ),
        (
            "torch._dynamo.exc.BackendCompilerFailed",
            "backend='mine' raised:\nValueError: no schedule\ntarget: aten.relu.default",
            "BackendCompilerFailed: ValueError: no schedule; target: aten.relu.default",
        ),
        ("Timeout", "", "Timeout"),
    ],
)
def test_of_an_error_what_it_says_is_left(name, message, expected):
    assert note(failure(name, message)) == expected


def test_paths_lose_their_folders_and_hashed_names_their_hash():
    text = "Failed to import /tmp/some-1/cache/c" + "a2b3c4d5" * 6 + ".py at line 7"
    assert shortened(text) == "Failed to import ….py at line 7"
    assert shortened("cannot open ~/a/b.cpp: 3/4 of 1/2") == "cannot open b.cpp: 3/4 of 1/2"


def test_addresses_on_the_web_and_short_numbers_stay():
    text = "see https://example.org/a/b/c with 1e-05, 0.25 and 1.0"
    assert shortened(text) == text


def test_three_lines_of_it_in_one_if_they_fit():
    assert note(failure("E", "a:\nb\nc\nd\ne")) == "E: a; b; c"
    long = "word " * 30
    told = note(failure("E", f"{long}\n{long}\n{long}\n{long}"))
    assert len(told.splitlines()) == 3


def test_that_it_passes_without_a_compiler_goes_without_saying():
    assert conditions(('backend="eager"',)) == ""
    assert conditions(("x all ones", 'backend="eager"')) == "\nPasses: x all ones"
