"""Changes of different things are made at once; of one thing, never."""

from dataclasses import replace

import pytest

from torchcrux.explain.together import ConflictError, grouped, merged
from torchcrux.passes.base import Draft
from torchcrux.program.context import Context
from torchcrux.program.ir import Node, Op, Program, Ref
from torchcrux.program.spec import Tensor

NODES = (
    Node("x", Op.INPUT, spec=Tensor((4, 2))),
    Node("y", Op.INPUT, spec=Tensor((2,))),
    Node("out", Op.FUNCTION, "torch.add", (Ref("x"), Ref("y"))),
)
BASE = Draft(Program(NODES, ("out",)), Context(config=("a = 1",)))


def with_input(name, **changes):
    node = BASE.program.by_name[name]
    return BASE.with_nodes(**{name: replace(node, spec=replace(node.spec, **changes))})


def with_context(**changes):
    return replace(BASE, context=replace(BASE.context, **changes))


def test_fields_of_one_input_and_of_the_context_are_changed_at_once():
    changed = [
        with_input("x", requires_grad=True),
        with_input("x", shape=(4, 3)),
        with_input("y", dtype="float64"),
        with_context(dynamic=True),
        with_context(config=("a = 1", "b = 2")),
        with_context(config=("a = 1", "c = 3")),
    ]
    ((together, members),) = grouped(BASE, changed)
    assert members == [0, 1, 2, 3, 4, 5]
    x, y, _ = together.program.nodes
    assert x.spec == Tensor((4, 3), requires_grad=True)
    assert y.spec.dtype == "float64"
    assert together.context == Context(dynamic=True, config=("a = 1", "b = 2", "c = 3"))


def test_two_values_of_one_thing_are_two_groups():
    wide, wider = with_input("x", shape=(4, 3)), with_input("x", shape=(4, 64))
    with pytest.raises(ConflictError):
        merged(BASE, wide, wider)
    groups = grouped(BASE, [wide, wider, with_context(dynamic=True), with_context(dynamic=False)])
    assert [members for _, members in groups] == [[0, 2], [1, 3]]
