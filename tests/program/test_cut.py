"""Any subset of the calls of a program is a program of its own."""

from __future__ import annotations

import pytest

from torchcrux.program.cut import Uncuttable, keep, positions
from torchcrux.program.ir import Dataflow, Node, Op, Program, Ref, Value
from torchcrux.program.spec import Nothing, Opaque, Sequence, Tensor

T = Tensor((2,))


def node(name, *uses, target="torch.sin", spec=T, **fields):
    return Node(name, Op.FUNCTION, target, tuple(Ref(use) for use in uses), spec=spec, **fields)


def item(name, of, index, spec=T):
    return Node(name, Op.FUNCTION, "operator.getitem", (Ref(of), index), spec=spec)


X = Node("x", Op.INPUT, spec=T)


def cut_to(program, *names):
    flow = Dataflow(program)
    kept = [i for i, one in enumerate(program.nodes) if one.name in names]
    return keep(flow, kept)


CHAIN = Program((X, node("a", "x"), node("b", "a"), node("c", "b")), ("c",))


def test_a_severed_value_becomes_an_input_and_a_severed_producer_an_output():
    cut = cut_to(CHAIN, "a", "c")
    assert [one.name for one in cut.inputs] == ["x", "b"]
    assert [one.name for one in cut.calls] == ["a", "c"]
    assert cut.outputs == ("a", "c")


def test_an_input_without_users_goes():
    assert [one.name for one in cut_to(CHAIN, "c").inputs] == ["b"]


def test_severed_values_are_made_as_asked():
    flow = Dataflow(CHAIN)
    (severed,) = keep(flow, [3], Value.STORED).inputs
    assert severed.value is Value.STORED


def test_an_item_goes_with_its_tuple():
    pair = Sequence((T, T))
    program = Program(
        (X, node("top", "x", spec=pair), item("first", "top", 0), node("y", "first")), ("y",)
    )
    cut = cut_to(program, "first", "y")
    assert [one.name for one in cut.calls] == ["y"]
    assert [one.name for one in cut.inputs] == ["first"]


def test_a_tuple_used_whole_becomes_a_tuple_input():
    pair = Sequence((T, T))
    program = Program((X, node("top", "x", spec=pair), node("y", "top")), ("y",))
    (severed,) = cut_to(program, "y").inputs
    assert severed.spec == pair


def test_what_returns_nothing_is_no_output():
    program = Program((X, node("write", "x", target="operator.setitem", spec=Nothing())), ())
    assert cut_to(program, "write").outputs == ("x",)


def test_a_token_cannot_be_severed():
    program = Program((X, node("s", "x", spec=Opaque("Stream")), node("y", "s")), ("y",))
    with pytest.raises(Uncuttable, match="value of s"):
        cut_to(program, "y")


def test_a_call_with_an_obstacle_cannot_be_kept():
    program = Program((X, node("odd", "x", obstacle="a call of the module odd")), ("odd",))
    with pytest.raises(Uncuttable, match="odd cannot be written"):
        cut_to(program, "odd")


def test_an_original_output_that_is_used_stays_an_output():
    program = Program((X, node("a", "x"), node("b", "a")), ("a", "b"))
    assert cut_to(program, "a", "b").outputs == ("a", "b")


def test_positions():
    assert positions(0b10110) == [1, 2, 4]
    assert positions(0) == []
