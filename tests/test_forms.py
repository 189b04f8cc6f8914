"""Which forms of a captured program are asked, and in which order."""

from __future__ import annotations

from dataclasses import replace

from torchcrux.forms import Form, formed, forms
from torchcrux.oracle.failure import Failure, Kind, Stage
from torchcrux.passes import Draft
from torchcrux.program.context import Context
from torchcrux.program.ir import Node, Op, Program, Ref, Value
from torchcrux.program.spec import Tensor


def draft(symbols=(), **context):
    x = Node("x", Op.INPUT, spec=Tensor((4, 3), symbols=symbols))
    y = Node("y", Op.FUNCTION, "torch.relu", (Ref("x"),), spec=Tensor((4, 3)))
    return Draft(Program((x, y), ("y",)), Context(**context))


def failure(kind):
    return Failure(kind, Stage.RUN, (("RuntimeError", "no"),), ())


def test_a_first_call_is_not_repeated():
    wrong = failure(Kind.ACCURACY)
    assert forms(wrong, draft()) == (Form.PLAIN_STORED, Form.FAITHFUL_STORED)


def test_values_that_can_be_had_are_not_done_without():
    crash = replace(failure(Kind.CRASH), metric={"during": "run"})
    assert set(forms(crash, draft())) > {Form.PLAIN_STORED, Form.CALLED_AGAIN}
    assert forms(crash, draft(), unkept=True) == (Form.PLAIN, Form.FAITHFUL)


def test_turns_come_last_and_only_there():
    wrong = failure(Kind.RUNTIME_ERROR)
    captured = draft(calls=5, compilations=3)
    found = forms(wrong, captured)
    assert found[-3:] == (Form.CALLED_AGAIN, Form.CALLED_ANEW, Form.COMPILED_AGAIN)
    turns = [
        (one.calls, one.anew, one.compilations)
        for one in (formed(captured, form, wrong).context for form in found)
    ]
    assert turns == [(1, False, 1), (1, False, 1), (5, False, 1), (5, True, 1), (1, False, 3)]


def test_inputs_that_are_made_anew_have_random_values():
    captured = draft(calls=2)
    anew = formed(captured, Form.CALLED_ANEW, failure(Kind.ACCURACY))
    again = formed(captured, Form.CALLED_AGAIN, failure(Kind.ACCURACY))
    assert anew.program.inputs[0].value is Value.RANDOM
    assert again.program.inputs[0].value is Value.STORED


def test_symbols_are_marked_if_dynamic_does_not_do():
    captured = draft(symbols=("s0", ""))
    error = failure(Kind.COMPILE_ERROR)
    found = forms(error, captured)
    assert found[-1] is Form.MARKED
    contexts = [formed(captured, form, error).context for form in found]
    assert [(one.dynamic, one.marked) for one in contexts] == [*[(True, False)] * 3, (None, True)]
    told = replace(captured, context=replace(captured.context, dynamic=True))
    assert Form.MARKED not in forms(error, told)


def test_other_sizes_before_come_after_the_call_alone():
    wrong = failure(Kind.ACCURACY)
    captured = draft(symbols=("s0", ""), earlier=((("s0", 8),),))
    found = forms(wrong, captured)
    assert found[2:] == (Form.LATER, Form.THIRD, Form.RECOMPILED, Form.MARKED)
    contexts = [formed(captured, form, wrong).context for form in found]
    assert [(one.earlier, one.dynamic) for one in contexts] == [
        ((), True),
        ((), True),
        (((("s0", 8),),), True),
        (((("s0", 9),), (("s0", 8),)), None),
        (((("s0", 8),),), None),
        ((), None),
    ]


def test_no_more_than_two_calls_come_before():
    captured = draft(symbols=("s0", ""), earlier=((("s0", 8),), (("s0", 6),)))
    wrong = failure(Kind.ACCURACY)
    found = [formed(captured, form, wrong).context.earlier for form in forms(wrong, captured)]
    assert ((("s0", 8),), (("s0", 6),)) in found
    assert max(map(len, found)) == 2


def test_static_sizes_are_symbols_only_where_others_come_before():
    captured = draft(symbols=("n0", ""), earlier=((("n0", 8),),), dynamic=False)
    for kind in (Kind.COMPILE_ERROR, Kind.RUNTIME_ERROR, Kind.ACCURACY):
        found = forms(failure(kind), captured)
        assert found[-1] is Form.LATER
        drafts = [formed(captured, form, failure(kind)) for form in found]
        assert all(one.context.dynamic is False for one in drafts)
        symbols = [one.program.inputs[0].spec.symbols for one in drafts]
        assert symbols == [*[()] * (len(found) - 1), ("n0", "")]


def test_what_is_only_compiled_again_comes_before_other_sizes():
    captured = draft(symbols=("n0", ""), earlier=((("n0", 8),),), dynamic=False, compilations=2)
    error, later = failure(Kind.COMPILE_ERROR), failure(Kind.RUNTIME_ERROR)
    assert forms(error, captured)[-2:] == (Form.COMPILED_AGAIN, Form.LATER)
    assert forms(later, captured)[-2:] == (Form.LATER, Form.COMPILED_AGAIN)


def test_a_module_comes_after_all_that_takes_arguments():
    captured = draft(calls=2)
    x, y = captured.program.nodes
    mine = replace(x, owner="buffer")
    owning = replace(captured, program=Program((mine, y), ("y",)))
    wrong, error = failure(Kind.ACCURACY), failure(Kind.COMPILE_ERROR)
    assert forms(wrong, owning) == (*forms(wrong, captured), Form.MODULE, Form.UPDATED)
    assert forms(error, owning) == (*forms(error, captured), Form.MODULE)
    contexts = [formed(owning, form, wrong).context for form in forms(wrong, owning)]
    assert [(one.module, one.updated) for one in contexts[-3:]] == [
        (False, False),
        (True, False),
        (True, True),
    ]
