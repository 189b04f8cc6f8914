"""What is used once, in the next line, stands there; nothing else moves."""

from __future__ import annotations

import pytest

from torchcrux.emit.inlining import WIDTH, inlined


@pytest.mark.parametrize(
    ("lines", "short"),
    [
        (["a = sin(x)", "return cos(a)"], ["return cos(sin(x))"]),
        (["a = topk(x, 1)", "b = a[1]", "return x.take(b)"], ["return x.take(topk(x, 1)[1])"]),
        (["a = x + 1", "return rsqrt(a)"], ["return rsqrt(x + 1)"]),
        (["a = x + 1", "return a.sum()"], ["return (x + 1).sum()"]),
        (["a = x + 1", "b = a * 2", "return x, b"], ["return x, (x + 1) * 2"]),
        (["a = x + 1", "b = y + 1", "return a, b"], ["return x + 1, y + 1"]),
        (["a = x[:-1].clone()", "x[1:] = a", "return x"], ["x[1:] = x[:-1].clone()", "return x"]),
        (["a = x * 1", "foreach([x, y], [z, a])"], ["foreach([x, y], [z, x * 1])"]),
        (["a = g(x)", "b = g(y)", "z[a, b] = 0", "return z"], ["z[g(x), g(y)] = 0", "return z"]),
        (["a = x * 2", "return 1.0 / (a + y)"], ["return 1.0 / (x * 2 + y)"]),
        (["a = x * 2", "return y - a"], ["return y - (x * 2)"]),
        (["a = x % 2", "return y + a"], ["return y + (x % 2)"]),
        (["b = g(x)", "return h(b, y.b)"], ["return h(g(x), y.b)"]),
        (["a = f(x)", "b = f(y)", "return g(a, b)"], ["return g(f(x), f(y))"]),
        (
            ["with scope():", "    a = sin(x)", "    b = cos(a)", "return b"],
            ["with scope():", "    b = cos(sin(x))", "return b"],
        ),
    ],
)
def test_a_value_of_the_next_line(lines, short):
    assert inlined(lines) == short


@pytest.mark.parametrize(
    "lines",
    [
        ["a = sin(x)", "return a + a"],
        ["a = sin(x)", "b = cos(y)", "return b, a"],  # in another order
        ["a = x.add_(1)", "b = x.mul_(2)", "return g(b, a)"],
        ["a = sin(x)", "b = cos(a)", "return g(a, b)"],
        ["a = zeros(3)", "a[0] = x", "return a"],
        ["a = zeros(3)", "a.add_(x)", "return x"],
        ["a = argmax(x)", "y[a] = a", "return y"],
        ["a = argmax(x)", "y[a] = g(y)", "return y"],  # what is assigned is computed first
        ["a = argmax(x)", "a[b] = 0", "return y"],
        ["a = sin(x)", "return [g(a) for _ in range(4)]"],
        ["a = sin(x)", "for _ in range(4):", "    a = sin(a)", "return a"],
        ["a = sin(x)", "with scope():", "    b = cos(a)", "return b"],
        ["a = sin(x)", "def g(y):", "    return y + a", "", "return g(x)"],
    ],
)
def test_what_stays(lines):
    moved = [line for line in inlined(lines) if line.startswith("a = ")]
    assert moved == [lines[0]]


def test_a_line_that_is_too_long_stays_two():
    name = "x" * (WIDTH - 20)
    lines = [f"a = sin({name})", "return cos(a)"]
    assert inlined(lines) == [f"return cos(sin({name}))"]
    lines = [f"a = sin({name})", "return cosine_of_something(a)"]
    assert inlined(lines) == lines
