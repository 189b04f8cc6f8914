"""Programs and contexts survive a journey through JSON."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchcrux.program.context import Backend, Context
from torchcrux.program.ir import (
    Atom,
    Body,
    Node,
    Op,
    Origin,
    Program,
    Ref,
    Region,
    Slice,
    Value,
)
from torchcrux.program.serial import (
    MalformedProgram,
    context_from_json,
    context_to_json,
    program_from_json,
    program_to_json,
)
from torchcrux.program.spec import Nothing, Number, Opaque, Sequence, Tensor

names = st.text("abcxyz_", min_size=1, max_size=4)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.text(max_size=5)
)
args = st.recursive(
    scalars | st.builds(Ref, names) | st.builds(Atom, names),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(names, inner, max_size=2)
        | st.builds(Slice, inner, inner, inner)
    ),
    max_leaves=6,
)
shapes = st.lists(st.integers(0, 5), max_size=3).map(tuple)
specs = st.recursive(
    st.builds(Tensor, shapes, low=st.none() | st.integers(), form=names, lost=names, lengths=shapes)
    | st.builds(Number, st.integers(), names)
    | st.just(Nothing())
    | st.builds(Opaque, names),
    lambda inner: st.builds(Sequence, st.lists(inner, max_size=2).map(tuple)),
    max_leaves=3,
)
nodes = st.builds(
    Node,
    names,
    st.sampled_from(Op),
    names,
    st.lists(args, max_size=3).map(tuple),
    st.dictionaries(names, args, max_size=2).map(lambda d: tuple(d.items())),
    spec=st.none() | specs,
    regions=st.lists(st.builds(Region, names, st.integers(0, 3)), max_size=2).map(tuple),
    origin=st.none() | st.builds(Origin, names, st.integers(), names, names),
    obstacle=st.none() | names,
)


def through_json(program):
    return program_from_json(json.loads(json.dumps(program_to_json(program))))


@given(st.lists(nodes, max_size=4).map(tuple))
def test_a_program_comes_back_equal(listed):
    program = Program(listed, tuple(node.name for node in listed))
    assert through_json(program) == program


def test_values_of_inputs_come_back():
    node = Node("x", Op.INPUT, value=Value.LITERAL, elements=(0.5, float("inf"), 1))
    assert through_json(Program((node,), ())).nodes == (node,)


def test_numbers_that_json_lacks_come_back():
    call = Node("y", Op.FUNCTION, "torch.full", ((2,), float("nan"), float("-inf")))
    again = through_json(Program((call,), ())).calls[0]
    assert math.isnan(again.args[1]) and again.args[2] == float("-inf")


def test_a_body_comes_back():
    inner = Program((Node("a", Op.INPUT),), ("a",))
    call = Node("y", Op.FUNCTION, "torch.cond", (Body(inner),))
    assert through_json(Program((call,), ())).calls[0].args == (Body(inner),)


def test_a_context_comes_back_equal():
    context = Context(
        backend=Backend("f", source="def f(gm, inputs): return gm\n"),
        options=(("max_autotune", True), ("x.y", (1, None))),
        around=('torch.autocast("cpu")',),
    )
    assert context_from_json(json.loads(json.dumps(context_to_json(context)))) == context


@pytest.mark.parametrize("data", [{}, {"nodes": 3}, None, {"regions": [], "nodes": [{}]}])
def test_what_is_no_program_is_refused(data):
    with pytest.raises(MalformedProgram):
        program_from_json(data)


def test_whose_an_input_is_is_kept():
    nodes = (Node("w", Op.INPUT, owner="parameter"), Node("x", Op.INPUT))
    read = program_from_json(program_to_json(Program(nodes, ("w",))))
    assert [node.owner for node in read.nodes] == ["parameter", ""]
