"""Repeated lines become loops that compute the same."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from torchcrux.emit.function import indented
from torchcrux.emit.loops import rolled


def body(text):
    return [line.removeprefix("    ") for line in text.strip("\n").splitlines()]


def test_a_chain_is_a_loop():
    lines = [
        "a = sin(x)",
        *(f"{new} = sin({old})" for old, new in zip("abcde", "bcdef", strict=True)),
    ]
    assert rolled([*lines, "return (f, x)"]) == [
        "a = sin(x)",
        "for _ in range(5):",
        "    a = sin(a)",
        "return (a, x)",
    ]


def test_copies_that_are_returned_are_a_list():
    lines = [f"y{i} = linear(x, w)" for i in range(3)]
    assert rolled([*lines, "return y0, y1, y2"]) == ["return [linear(x, w) for _ in range(3)]"]
    assert rolled([*lines[:2], "return y0, y1"]) == [*lines[:2], "return y0, y1"]


def test_what_is_used_otherwise_stays():
    chain = ["a = sin(x)", "b = sin(a)", "c = sin(b)", "d = sin(c)", "e = sin(d)", "f = sin(e)"]
    for last in ("return c + f", "return f, x, a, b, c, d"):
        assert rolled([*chain, last])[-1] != last or rolled([*chain, last]) == [*chain, last]
    copies = [f"y{i} = linear(x, w)" for i in range(4)]
    for last in ("return y0, y1, y3, y2", "return y0, y1, y2", "return y0 + y1 + y2 + y3"):
        assert rolled([*copies, last]) == [*copies, last]
    shown = ["y0 = g(x)", "h(y0)", "y1 = g(x)", "y2 = g(x)", "y3 = g(x)", "return y0, y1, y2, y3"]
    assert rolled(shown) == shown


def test_attributes_are_no_variables():
    lines = [f"linear{number} = F.linear(x, w)" for number in ("", "_1", "_2", "_3")]
    returned = "return linear, linear_1, linear_2, linear_3"
    assert rolled([*lines, returned]) == ["return [F.linear(x, w) for _ in range(4)]"]


def test_keywords_and_strings_are_no_variables():
    lines = [f"a{i + 1} = g(a{i}, a0=1, mode='a{i}')" for i in range(6)]
    assert rolled([*lines, "return a6"]) == [*lines, "return a6"]  # the strings differ
    lines = ["a0 = g(x)", *(f"a{i + 1} = g(a{i}, a6=1, mode='a6')" for i in range(6))]
    assert rolled([*lines, "return h(a6, a6=a6)"]) == [
        "a0 = g(x)",
        "for _ in range(6):",
        "    a0 = g(a0, a6=1, mode='a6')",
        "return h(a0, a6=a0)",
    ]


@st.composite
def straight_lines(draw):
    """A body of assignments, many of them alike, and what it returns."""
    names = ["x"]
    lines = []
    for i in range(draw(st.integers(1, 12))):
        source = draw(st.sampled_from([names[-1], names[-1], names[-1], *names]))
        template = draw(st.sampled_from(["g({})", "g({})", "g({})", "h({}, x)"]))
        lines.append(f"v{i} = {template.format(source)}")
        names.append(f"v{i}")
    count = draw(st.integers(1, len(names) - 1))
    return [*lines, f"return {', '.join(names[-count:])}"]


@given(straight_lines())
def test_what_is_rolled_computes_the_same(lines):
    def run(body):
        scope = {"g": lambda v: ("g", v), "h": lambda v, w: ("h", v, w)}
        exec("\n".join(["def f(x):", *indented(body)]), scope)
        result = scope["f"]("x")
        return tuple(result) if isinstance(result, list) else result

    assert run(rolled(lines)) == run(lines)
