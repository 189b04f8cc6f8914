"""A user's code without what is not executed does what it did, where that was executed."""

from __future__ import annotations

import contextlib
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from torchcrux.emit.executed import has_blocks, probed, without_unexecuted

SOURCE = '''
import logging
import os
from collections import OrderedDict, defaultdict
from math import (
    inf,
    pi,
    tau,
)
log = logging.getLogger(__name__)
LIMITS = {"a": 1}
TEXT = """
if x:

    # kept

"""


def register(name):
    """Registers."""
    def wrap(f):
        TABLE[name] = f
        return f
    return wrap


TABLE = {}


@register("sin")
def lower_sin(x):
    """Lower it.

    More of that.
    """
    return x + len(TEXT) + tau - pi


@register("cos")
def lower_cos(x):
    # never
    y = x * 2
    return y


def helper(x):
    return defaultdict(int)


class Lowering:
    """A class."""

    def __init__(self, n):
        self.n = n

    def visit(self, name, x):
        # a negative one
        if x < -5:
            return helper(-x)
        if name == "cos":
            # inner
            return self.other(x)
        elif name == "tan":
            return helper(x)
        elif name == "sin":
            x = x + 1
        else:
            raise ValueError(
                "no"
            )
        try:
            y = TABLE[name](x)
        except KeyError:
            log.warning("none")
            raise
        for i in []:
            print(i)
        for i in [x, name]:
            if i is None:
                print(i)
        if os.environ.get("NOT_SET_AT_ALL"):
            y = 0
        else:
            y += 1
            y += 2
        return y

    def other(self, x):
        return x

    @property
    def size(self):
        return self.n


def backend(x):
    low = Lowering(3)
    return low.visit("sin", x)
'''

BOLD = '''from math import pi, tau
TEXT = """
if x:

    # kept

"""


def register(name):
    def wrap(f):
        TABLE[name] = f
        return f
    return wrap


TABLE = {}


@register("sin")
def lower_sin(x):
    return x + len(TEXT) + tau - pi


class Lowering:
    def __init__(self, n):
        self.n = n

    def visit(self, name, x):
        if name == "sin":
            x = x + 1
        y = TABLE[name](x)
        y += 1
        y += 2
        return y


def backend(x):
    low = Lowering(3)
    return low.visit("sin", x)
'''


def run(text: str) -> Any:
    namespace: dict[str, Any] = {"__name__": "a_script"}
    exec(compile(text, "a_script", "exec"), namespace)
    return namespace["backend"]


def executed(source: str, tmp_path, *given_: Any) -> set[int]:
    trail = tmp_path / "trail"
    trail.unlink(missing_ok=True)
    backend = run(probed(source, str(trail), "one"))
    for value in given_:
        with contextlib.suppress(ZeroDivisionError):
            backend(value)
    lines = trail.read_text().splitlines() if trail.exists() else []
    assert all(line.startswith("one:") for line in lines)
    return {int(line.removeprefix("one:")) for line in lines}


def test_what_is_executed_stays_as_it_was_written(tmp_path):
    numbers = executed(SOURCE, tmp_path, 3)
    bold = without_unexecuted(SOURCE, numbers, {"backend"}, bold=True)
    assert bold == BOLD
    assert run(bold)(3) == run(SOURCE)(3)


def test_what_may_have_an_effect_by_being_there_stays_unless_bold(tmp_path):
    text = without_unexecuted(SOURCE, executed(SOURCE, tmp_path, 3), {"backend"}, bold=False)
    assert '@register("cos")\ndef lower_cos(x): ...\n' in text
    assert 'if os.environ.get("NOT_SET_AT_ALL"):' in text
    assert "log = logging.getLogger(__name__)" in text
    assert "defaultdict" not in text and "tan" not in text and "other" not in text
    assert run(text)(3) == run(SOURCE)(3)


LOGGING = """
import logging

_logger = logging.getLogger(__name__)


class Compiler:
    shown = True

    def __call__(self, gm):
        count = len(gm)
        names = [one.upper() for one in gm]
        if count > 1:
            self.logger.info(f"{names} of {count}")
            _logger.warning("more than %d", (limit := 1))
        print("compiled")
        self.optimizer.log(gm)
        blueprint(gm)
        return len(gm) > limit
"""


def test_what_is_only_logged_goes_with_what_is_only_for_that():
    every = range(20)
    text = without_unexecuted(LOGGING, every, {"Compiler"}, bold=True)
    for gone in ("names", "self.logger", "print"):
        assert gone not in text.replace("blueprint", ""), text
    for kept in ("shown", "count > 1", "(limit := 1)", "self.optimizer.log(gm)", "blueprint(gm)"):
        assert kept in text, text
    assert without_unexecuted(LOGGING, every, {"Compiler"}, bold=False) == LOGGING


def test_names_that_the_rest_of_the_script_uses_stay(tmp_path):
    text = without_unexecuted(SOURCE, executed(SOURCE, tmp_path), {"helper"}, bold=True)
    assert "def helper(x): ..." in text and "class Lowering" not in text


@pytest.mark.parametrize(
    "source", ["def backend(x): return x\n", "def backend(x):\n    return x\n"]
)
def test_what_has_no_blocks_of_its_own_lines_is_left_alone(source, tmp_path):
    assert has_blocks(source) is (source.count("\n") > 1)
    numbers = executed(source, tmp_path, 1)
    assert without_unexecuted(source, numbers, {"backend"}, bold=True) == source


STATEMENTS = st.sampled_from(
    ["seen.append({n})", "x = x + {n}", "x = x % 7", "x = 6 // (x % 3)", "y = x", "pass"]
)
TESTS = st.sampled_from(["x > 3", "x % 2", "len(seen) > 2", "x == 0", "True"])


def _indented(body: list[str]) -> list[str]:
    return [f"    {line}" for line in body]


@st.composite
def bodies(draw, depth: int = 3) -> list[str]:
    """The lines of a block."""
    lines: list[str] = []
    for _ in range(draw(st.integers(1, 3))):
        kinds = ["plain", "line", "if", "for", "try", "def"] if depth else ["plain", "line"]
        kind = draw(st.sampled_from(kinds))
        n = draw(st.integers(0, 9))
        inner = [] if kind in ("plain", "line") else _indented(draw(bodies(depth=depth - 1)))
        if kind == "plain":
            lines.append(draw(STATEMENTS).format(n=n))
        elif kind == "line":
            lines.append(f"if {draw(TESTS)}: x = {n}; y = {n}")
            lines += draw(st.sampled_from([[], ["else: x = 3"], ["elif x: pass", "else: x = 4"]]))
        elif kind == "if":
            lines += [f"if {draw(TESTS)}:", *inner]
            for _ in range(draw(st.integers(0, 2))):
                lines += [f"elif {draw(TESTS)}:", *_indented(draw(bodies(depth=depth - 1)))]
            other = draw(st.sampled_from(["", "line", "block"]))
            if other == "line":
                lines.append("else: x = 5")
            elif other:
                lines += ["else:", *_indented(draw(bodies(depth=depth - 1)))]
        elif kind == "for":
            lines += [f"for i in range(x % {n + 1}):", *inner]
        elif kind == "try":
            lines += ["try:", *inner, "except ZeroDivisionError:"]
            lines += _indented(draw(bodies(depth=depth - 1)))
            if draw(st.booleans()):
                lines += ["else:", *_indented(draw(bodies(depth=depth - 1)))]
        else:
            lines += [f"def inner_{n}(x):", '    """Said."""', *inner, "    return x"]
            lines += [f"if {draw(TESTS)}:", f"    x = inner_{n}(x)"]
        if draw(st.booleans()):
            lines.append(draw(st.sampled_from(["", "# a word"])))
    return lines


def told(source: str, value: int) -> Any:
    try:
        return run(source)(value)
    except ZeroDivisionError:
        return "divided"


@settings(max_examples=150, deadline=None)
@given(bodies(), st.lists(st.integers(0, 12), min_size=1, max_size=3), st.booleans())
def test_whatever_was_executed_comes_to_the_same(tmp_path_factory, body, values, bold):
    lines = ["seen = []", *body, "return x, seen"]
    source = "\n".join(["def backend(x):", *_indented(lines)]) + "\n"
    numbers = executed(source, tmp_path_factory.getbasetemp(), *values)
    text = without_unexecuted(source, numbers, {"backend"}, bold=bold)
    assert len(text.splitlines()) <= len(source.splitlines())
    assert [told(text, value) for value in values] == [told(source, value) for value in values]
    assert "_torchcrux" not in text
