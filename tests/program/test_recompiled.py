"""Graphs that were compiled for other sizes before."""

from __future__ import annotations

from dataclasses import replace

import pytest

from torchcrux.program.ir import Node, Op, Program, Ref
from torchcrux.program.recompiled import Before, fixed, resized
from torchcrux.program.spec import Number, Sequence, Tensor


def program(
    rows: int, *, columns: int = 4, last: str = "torch.relu", scale: float = 0.5
) -> Program:
    nodes = (
        Node("x", Op.INPUT, spec=Tensor((rows, columns))),
        Node("view", Op.METHOD, "view", (Ref("x"), (2 * rows, -1)), spec=Tensor((2 * rows, 2))),
        Node("top", Op.FUNCTION, "torch.topk", (Ref("view"), 1), spec=pair(2 * rows)),
        Node("first", Op.FUNCTION, "operator.getitem", (Ref("top"), 0), spec=Tensor((2 * rows, 1))),
        Node("out", Op.FUNCTION, last, (Ref("first"), scale), spec=Tensor((2 * rows, 1))),
    )
    return Program(nodes, ("out",))


def pair(rows: int) -> Sequence:
    return Sequence((Tensor((rows, 1)), Tensor((rows, 1), "int64")))


def test_sizes_that_differ_are_symbols_and_what_follows_them_is_an_input():
    found, earlier = resized(program(3), [program(5, scale=0.3)], static=True)
    assert earlier == ((("n0", 5), ("n1", 10)),)
    x, number, view, top, first, out = found.nodes
    assert x.spec == Tensor((3, 4), symbols=("n0", ""))
    assert (number.op, number.spec) == (Op.INPUT, Number(6, "n1"))
    assert view.args == (Ref("x"), (Ref("n1"), -1))
    assert view.spec == Tensor((6, 2), symbols=("n1", ""))
    assert [one.symbols for one in top.spec.items] == [("n1", ""), ("n1", "")]
    assert first.args == (Ref("top"), 0)
    assert out.args == (Ref("first"), 0.5)
    assert fixed(found) == program(3)


@pytest.mark.parametrize(
    "before",
    [
        [],
        [program(3)],
        [program(5, last="torch.sin")],
        [Program(program(5).nodes[:-1], ("first",))],
        [
            Program(
                (replace(program(5).nodes[0], spec=Tensor((5,))), *program(5).nodes[1:]), ("out",)
            )
        ],
    ],
    ids=["none", "same sizes", "another call", "fewer calls", "another rank"],
)
def test_nothing_is_changed_where_there_was_no_such_graph(before):
    now = program(3)
    found, earlier = resized(now, before, static=True)
    assert found is now
    assert earlier == ()


def test_sizes_of_what_is_not_static_stay():
    now = program(3)
    assert resized(now, [program(5)], static=False) == (now, ())


def test_symbols_that_the_compiler_made_are_looked_up():
    def of(rows: int, *symbols: str) -> Program:
        x = Node("x", Op.INPUT, spec=Tensor((rows, 4), symbols=symbols))
        return Program((x, Node("s0", Op.INPUT, spec=Number(rows, "s0"))), ("x",))

    now = of(3, "s0", "")
    static = Program((replace(now.nodes[0], spec=Tensor((7, 4))),), ("x",))
    assert resized(now, [static, of(3, "s0", ""), static], static=False) == (now, ((("s0", 7),),))


def test_a_symbol_is_named_as_no_value_is():
    taken = program(3)
    x = Node("n0", Op.INPUT, spec=Tensor((1,)))
    now, before = (Program((x, *one.nodes), one.outputs) for one in (taken, program(5)))
    found, earlier = resized(now, [before], static=True)
    assert earlier == ((("n1", 5), ("n2", 10)),)
    assert [node.name for node in found.inputs] == ["n0", "x", "n2"]


def test_the_first_and_the_latest_count():
    before = Before()
    for rows in (5, 6, 7):
        before.resized(program(rows), static=True)
    _, earlier = before.resized(program(3), static=True)
    assert [dict(one)["n0"] for one in earlier] == [5, 7]
    assert before.resized(program(3, last="torch.sin"), static=True)[1] == ()
