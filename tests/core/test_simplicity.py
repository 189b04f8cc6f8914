"""Simplest first."""

from __future__ import annotations

from torchcrux.core.order import Simplicity


def size(text="y = x", operations=3, inputs=2, elements=64, **more):
    return Simplicity.of(text, operations=operations, inputs=inputs, elements=elements, **more)


def test_fewer_operations_beat_everything_else():
    assert size("a much longer text", operations=2, inputs=9, elements=999) < size()


def test_then_fewer_inputs():
    assert size("longer text", inputs=1, elements=999) < size()


def test_then_fewer_elements():
    assert size("longer text", elements=63) < size()


def test_then_fewer_values_from_a_file_and_fewer_random_ones():
    assert size("longer text", drawn=2) < size(kept=1)
    assert size("longer text", drawn=1) < size(drawn=2)


def test_then_the_shorter_text():
    assert size("z") < size("aa")


def test_a_tie_is_broken_by_the_text():
    assert size("a") < size("b")
    assert not size("a") < size("a")
