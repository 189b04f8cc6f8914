"""Code of the user's comes along without what is never executed, where all that is told of the
script stays true of it."""

from __future__ import annotations

import pytest

from torchcrux.passes import Draft
from torchcrux.program.context import Backend, Context
from torchcrux.program.ir import Program
from torchcrux.report.terminal import summary
from torchcrux.trim import with_texts

pytestmark = pytest.mark.real

SCRIPT = '''
import logging
import operator
import os

import torch

log = logging.getLogger("compiler")


class LoweringError(RuntimeError):
    """Something cannot be lowered."""

    def __init__(self, node, why):
        super().__init__(f"cannot lower {node.name}: {why}")


RULES = {}


def rule(*targets):
    def register(fn):
        for target in targets:
            RULES[target] = fn
        return fn

    return register


@rule(torch.sin)
def lower_sin(compiler, node, x):
    return "sin"


@rule(operator.add)
def lower_add(compiler, node, a, b):
    if isinstance(b, (int, float)):
        return "add a number"
    if a.dtype == torch.float64:
        return compiler.wide(node)
    if a.shape != b.shape:
        raise LoweringError(node, f"shapes differ, {a.dim()} and {b.dim()}")
    return "add"


class Compiler:
    def __init__(self, verbose=False):
        self.verbose = verbose

    def __call__(self, gm, inputs):
        """Compile it."""
        for node in gm.graph.nodes:
            if node.op == "call_function":
                self.visit(node)
            elif node.op == "call_module":
                raise LoweringError(node, "a module")
        if os.environ.get("COMPILER_DUMP"):
            self.dump(gm)
        return gm.forward

    def visit(self, node):
        fn = RULES.get(node.target)
        if fn is None:
            log.debug("no rule for %s", node.target)
            return None
        values = [getattr(one, "meta", {}).get("example_value", one) for one in node.args]
        started = len(values)
        log.info("rule for %s, %d operands", node.target, started)
        try:
            return fn(self, node, *values)
        except TypeError as error:
            log.warning("wrong operands: %s", error)
            return None

    def wide(self, node):
        return "add in double precision"

    def dump(self, gm):
        print(gm.code)


def f(x, bias):
    for _ in range(4):
        x = torch.sin(x)
    return torch.cos(x + bias)


torch.compile(f, backend=Compiler())(torch.randn(4, 4), torch.randn(4))
'''


def test_what_is_never_executed_does_not_come_along(reduced):
    _, result = reduced(SCRIPT)
    assert result.status == "reduced" and result.minimal, result.message
    assert result.verified_runs == 1 and result.operations.final == 1
    for gone in (
        "lower_sin",
        "call_module",
        "log",
        "dump",
        "import os",
        "except",
        "started",
        '"""',
    ):
        assert gone not in result.text, result.text
    for kept in ("class LoweringError", "@rule(operator.add)", "for node in gm.graph.nodes:"):
        assert kept in result.text, result.text
    assert result.left_out > 15
    assert f"Left out: {result.left_out} lines of the user's code" in "\n".join(summary(result))
    for name in ("issue.md", "report.html"):
        assert f"{result.left_out} lines of the user" in (result.folder / name).read_text()


def test_what_makes_a_change_pass_stays(reduced):
    """The failure never comes to the line that handles double precision, or numbers; what is told
    to pass does."""
    _, result = reduced(SCRIPT)
    passing = {change for change, verdict in result.necessary if verdict == "passes"}
    wide = [change for change in passing if "float64" in change]
    assert bool(wide) is ("torch.float64" in result.text)
    assert (
        any("1.0" in change for change in passing) and "isinstance(b, (int, float))" in result.text
    )


WATCHFUL = """
import inspect
import torch


def unneeded(x):
    return x


def backend(gm, inputs):
    if len(inputs) > 5:
        unneeded(gm)
    if inspect.getsource(backend).count("unneeded") == 2:
        raise RuntimeError("there is no such kernel")
    return gm.forward


def f(x):
    return torch.sin(x).cos()


torch.compile(f, backend=backend)(torch.randn(4))
"""


def test_where_it_does_not_fail_without_that_it_stays(reduced):
    _, result = reduced(WATCHFUL)
    assert result.status == "reduced" and result.minimal, result.message
    assert "unneeded(gm)\n" in result.text and result.verified_runs == 1
    assert result.left_out == 1  # the body of what is not called


def test_what_an_edit_has_dropped_or_changed_stays_so_while_it_is_watched():
    texts = {"first": "FIRST", "second": "SECOND", "source": "SOURCE"}
    whole = Context(backend=Backend("b", "", "source"), config=("x = 1", "first", "second"))
    changed = Context(backend=Backend("b", "", "another"), config=("second",))

    def watched(context: Context) -> Context:
        return with_texts(Draft(Program((), ()), context), texts).context

    assert watched(whole).config == ("x = 1", "FIRST", "SECOND")
    assert watched(whole).backend.source == "SOURCE"
    assert watched(changed).config == ("SECOND",)
    assert watched(changed).backend.source == "another"


OPERATOR = '''
import torch
from torch import Tensor


@torch.library.custom_op("crux_trim::pairs", mutates_args=())
def pairs(x: Tensor, largest: bool = False) -> Tensor:
    """The sums of neighbours."""
    if x.dim() != 1:
        raise ValueError("one dimension")
    halves = x.view(-1, 2)
    return halves.amax(1) if largest else halves.sum(1)


@pairs.register_fake
def _(x, largest=False):
    """Half as many."""
    return x.new_empty(x.numel() // 2)


def backend(gm, inputs):
    for node in gm.graph.nodes:
        if "pairs" in str(node.target):
            raise RuntimeError("there is no such kernel")
        elif node.op == "call_method":
            node.meta["seen"] = True
    return gm.forward


def f(x):
    return pairs(x.sin()).cos()


torch.compile(f, backend=backend)(torch.randn(4))
'''


def test_what_is_never_executed_of_an_operator_goes_with_that_of_the_backend(reduced):
    _, result = reduced(OPERATOR)
    assert result.status == "reduced" and result.minimal, result.message
    assert result.verified_runs == 1 and result.operations.final == 1
    for gone in ("neighbours", "Half", "ValueError", "seen"):
        assert gone not in result.text, result.text
    assert "@pairs.register_fake" in result.text and result.left_out > 5
