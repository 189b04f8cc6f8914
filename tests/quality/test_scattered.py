"""Values that matter: which of them are left, and how they are written."""

import math
import random
from dataclasses import replace

import pytest
from quality_kit import calls, draft, minimal

from torchcrux.program.ir import Value
from torchcrux.program.spec import Tensor


def known(spec, elements):
    start = draft({"x": spec}, [("y", "torch.sin", ["%x"])])
    node = start.program.by_name["x"]
    return start.with_nodes(x=replace(node, value=Value.LITERAL, elements=tuple(elements)))


def values(program):
    (node,) = program.inputs
    return node.elements if calls(program, "sin") and node.value is Value.LITERAL else ()


def test_the_three_of_a_thousand_that_matter_without_what_lies_between():
    numbers = random.Random(0)
    elements = [numbers.random() for _ in range(1000)]
    elements[5], elements[500], elements[900] = math.nan, -0.0, 1e-40
    needed = {"nan", "-0.0", "1e-40"}
    reduced = minimal(
        known(Tensor((1000,)), elements), lambda p: needed <= set(map(str, values(p)))
    )
    (line,) = reduced.inputs
    assert line == 'x = torch.tensor([float("nan"), -0.0, 1e-40])'
    assert reduced.questions < 130


def test_where_the_places_matter_the_rest_is_zero():
    elements = [i + 1.0 for i in range(1000)]

    def fails(p):
        found = values(p)
        return len(found) == 1000 and found[7] == 8.0 and found[800] == 801.0

    reduced = minimal(known(Tensor((1000,)), elements), fails)
    (line,) = reduced.inputs
    assert line == "x = torch.zeros(1000).put(torch.tensor([7, 800]), torch.tensor([8.0, 801.0]))"


def test_seventy_of_two_hundred():
    needed = set(random.Random(0).sample(range(200), 70))
    elements = [float(i + 1) for i in range(200)]
    reduced = minimal(
        known(Tensor((200,)), elements),
        lambda p: len(values(p)) == 200 and all(values(p)[i] == i + 1 for i in needed),
    )
    assert sum(value != 0 for value in reduced.program.inputs[0].elements) == 70


def test_what_a_script_cannot_show_stays_as_it_is():
    elements = [i + 1.0 for i in range(300)]
    reduced = minimal(known(Tensor((300,)), elements), lambda p: values(p) == tuple(elements))
    assert reduced.questions < 200


@pytest.mark.parametrize(
    ("down", "line"),
    [(False, "torch.arange(100)"), (True, "torch.arange(99, -1, -1)")],
)
def test_integers_whose_order_matters_are_numbered(down, line):
    elements = sorted(random.Random(0).sample(range(200), 100), reverse=down)
    spec = Tensor((100,), dtype="int64", low=0, high=199)

    def fails(p):
        found = values(p)
        return len(found) == 100 and list(found) == sorted(found, reverse=down) and found[3]

    assert minimal(known(spec, elements), fails).inputs == [f"x = {line}"]


def test_an_input_that_is_as_long_goes_along():
    start = draft({"x": (50,), "y": (50,)}, [("z", "torch.mul", ["%x", "%y"])])
    elements = [1.5] * 50
    elements[7] = elements[33] = math.inf
    node = replace(start.program.by_name["x"], value=Value.LITERAL, elements=tuple(elements))
    reduced = minimal(
        start.with_nodes(x=node),
        lambda p: any(str(n.elements).count("inf") == 2 for n in p.inputs) and len(p.inputs) == 2,
    )
    assert reduced.inputs == ['x = torch.tensor([float("inf"), float("inf")])', "y = torch.ones(1)"]
