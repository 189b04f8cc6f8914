"""Of the names of a program only their stems go to the judge."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from torchcrux.oracle.message import stem
from torchcrux.oracle.naming import renamed, stems
from torchcrux.program.ir import Node, Op, Program, Ref
from torchcrux.program.spec import Tensor

SPEC = Tensor(shape=(2,))


@given(
    st.from_regex(r"[a-z]{1,3}_?[0-9]{0,2}(_[0-9]{1,2}){0,3}(_[a-z]{1,2}[0-9]?)?", fullmatch=True)
)
def test_a_stem_is_its_own_stem(name):
    assert stem(stem(name)) == stem(name)


def chain(length):
    names = ["x", *(f"relu_{i}" for i in range(length))]
    calls = [
        Node(names[i + 1], Op.FUNCTION, "torch.relu", (Ref(names[i]),), spec=SPEC)
        for i in range(length)
    ]
    return Program((Node("x", Op.INPUT, spec=SPEC), *calls), (names[-1],))


def test_as_much_is_sent_of_a_long_program_as_of_a_short_one():
    expected = [("L_x_", "x"), ("l_x_", "x"), ("relu", "relu"), ("x", "x")]
    assert renamed(chain(1200)) == renamed(chain(2)) == expected
    assert stems(node.name for node in chain(1200).nodes) == ["relu", "x"]
