"""Where a failure begins, as far as it was asked."""

from __future__ import annotations

import pytest

from torchcrux.certificate import certificate
from torchcrux.oracle.answer import Answer
from torchcrux.oracle.judge import Verdict
from torchcrux.passes.arguments import DropArgument, SetArgument
from torchcrux.passes.base import Draft
from torchcrux.passes.context import SetContext
from torchcrux.passes.cut import CutCall
from torchcrux.passes.inputs import SetValue
from torchcrux.passes.sizes import Resize
from torchcrux.program.context import Context
from torchcrux.program.ir import Node, Op, Program, Ref, Value
from torchcrux.program.literals import Place
from torchcrux.program.spec import Tensor
from torchcrux.thresholds import twice

WHERE = Place("a", ("shape", 0))
SAME, PASSES, DIFFERENT = Verdict.SAME, Verdict.PASSES, Verdict.DIFFERENT


def draft(size, value=Value.ONES, elements=()):
    spec = Tensor((size,))
    nodes = (
        Node("a", Op.INPUT, spec=spec, value=value, elements=elements),
        Node("b", Op.FUNCTION, "torch.sin", (Ref("a"),), spec=spec),
    )
    return Draft(Program(nodes, ("b",)), Context(dynamic=True))


def proof(start, *asked):
    told = [(edit, edit.apply(start), Answer(verdict)) for edit, verdict in asked]
    return certificate(start, told)


def sized(size, **verdicts):
    edits = [
        (Resize(WHERE, size, int(new[1:]), ((WHERE, int(new[1:])),)), verdict)
        for new, verdict in verdicts.items()
    ]
    return proof(draft(size), *edits)


@pytest.mark.parametrize(
    ("found", "doubled", "words"),
    [
        ({"_16": PASSES, "_8": PASSES}, SAME, "fails from 17, passes up to 16"),
        ({"_8": PASSES, "_16": PASSES}, None, "fails from 17, passes up to 16"),
        ({"_16": PASSES}, PASSES, "fails with 17, passes with 34 and 16"),
        ({"_16": PASSES, "_8": DIFFERENT}, SAME, "fails with 17 and 34, passes with 16"),
        ({"_14": PASSES, "_8": PASSES}, SAME, "fails with 17 and 34, passes with 14 and 8"),
    ],
)
def test_no_more_is_claimed_than_was_asked(found, doubled, words):
    known = sized(17, **found)
    (leader,) = {edit.leader for edit in known.sized}
    told = known.with_larger({} if doubled is None else {leader: doubled}).told(())
    passing = [change for change, verdict in told if verdict == "passes"]
    nearest = max(int(new[1:]) for new, verdict in found.items() if verdict is PASSES)
    assert passing == [f"x of shape (17,) → ({nearest},) ({words})"]


def test_of_one_and_two_it_goes_without_saying():
    known = sized(2, _1=PASSES)
    assert known.sized == []
    assert known.with_larger({}).told(()) == [("x of shape (2,) → (1,)", "passes")]


def test_the_double_is_asked_if_eager_takes_it():
    def runs(drafts):
        return drafts

    (edit,) = sized(17, _16=PASSES).sized
    assert twice(draft(17), edit, runs).program.by_name["a"].spec.shape == (34,)
    filled = draft(17, Value.LITERAL, (5.0,) * 17)
    assert twice(filled, edit, runs).program.by_name["a"].elements == (5.0,) * 34
    assert twice(draft(17), edit, lambda drafts: [None] * len(drafts)) is None


def test_a_script_tells_what_is_news_and_of_data_last():
    start = draft(1)
    known = proof(
        start,
        (CutCall("b"), PASSES),
        (SetValue("a", Value.ZEROS), PASSES),
        (SetContext("dynamic", "without dynamic"), PASSES),
    )
    assert known.telling() == ["without dynamic=True", "x all zeros"]
    assert known.told(["x all zeros"]) == [
        ("without torch.sin(x)", "passes"),
        ("x all zeros", "passes"),
        ("without dynamic=True", "passes"),
    ]
    assert known.minimal


def test_of_two_changes_of_which_one_holds_the_other_the_smaller_is_told():
    number = Place("b", ("args", 1))
    both = Resize(WHERE, 2, 1, ((WHERE, 1), (number, 1)))
    start = draft(2)
    nodes = start.program.nodes
    call = Node("b", Op.METHOD, "narrow", (Ref("a"), 2), spec=Tensor((2,)))
    start = Draft(Program((nodes[0], call), ("b",)), Context())
    known = proof(start, (both, PASSES), (SetArgument(number, 2, 1, ""), PASSES))
    assert known.telling() == ["x.narrow(1) instead of x.narrow(2)"]


def test_of_several_changes_of_a_call_a_script_tells_one():
    nodes = draft(2).program.nodes
    call = Node("b", Op.METHOD, "sum", (Ref("a"), 0, None, 2), spec=Tensor(()))
    start = Draft(Program((nodes[0], call), ("b",)), Context())
    edits = [
        DropArgument(Place("b", ("args", 3)), ""),
        DropArgument(Place("b", ("args", 2)), ""),
        SetArgument(Place("b", ("args", 3)), 2, 1, ""),
    ]
    known = proof(start, *((edit, PASSES) for edit in edits))
    assert len(known.entries) == 3
    assert known.telling() == ["x.sum(0, None, 1) instead of x.sum(0, None, 2)"]


def test_what_fails_alike_is_not_necessary():
    known = proof(draft(1), (SetValue("a", Value.ZEROS), SAME))
    assert (known.minimal, known.told(())) == (False, [])
