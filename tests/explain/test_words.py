"""Single changes in the words of the script, so that each can be tried by hand."""

from __future__ import annotations

import pytest

from torchcrux.explain.words import Words, says_much
from torchcrux.passes.arguments import DropArgument, SetArgument
from torchcrux.passes.base import Draft
from torchcrux.passes.bodies import ReplaceInside
from torchcrux.passes.bypass import ReplaceNode
from torchcrux.passes.context import DropItem, SetContext
from torchcrux.passes.cut import CutCall
from torchcrux.passes.dtype import Cast
from torchcrux.passes.inlining import Inline
from torchcrux.passes.inputs import PlainInput, SetValue
from torchcrux.passes.inside import InBody
from torchcrux.passes.parts import Part
from torchcrux.passes.rank import DropDimension
from torchcrux.passes.sharing import Place as Lies
from torchcrux.passes.sizes import Resize
from torchcrux.passes.spelling import Respell
from torchcrux.program.context import Context
from torchcrux.program.ir import Body, Node, Op, Program, Ref, Value
from torchcrux.program.literals import Place
from torchcrux.program.spec import Number, Tensor

ONE = Tensor((2, 3), "bfloat16")
PROGRAM = Program(
    (
        Node("all", Op.INPUT, spec=ONE, value=Value.ONES),  # a word of English, as captured
        Node("mul", Op.INPUT, spec=ONE, value=Value.ONES),
        Node("n_", Op.INPUT, spec=Number(4)),
        Node("a", Op.FUNCTION, "operator.mul", (Ref("all"), 3), spec=ONE),
        Node("b", Op.METHOD, "view", (Ref("a"), 2, 3), spec=ONE),
        Node("c", Op.METHOD, "sum", (Ref("b"),), (("dim", 1),), spec=Tensor((2,))),
        Node("d", Op.FUNCTION, "torch.sin", (Ref("mul"),), spec=ONE),
        Node("e", Op.FUNCTION, "torch.sin", (Ref("mul"),), spec=ONE),
        Node("g", Op.FUNCTION, "torch.stack", ([Ref("d"), Ref("e"), Ref("d")],), spec=ONE),
    ),
    ("c", "g", "n_"),
)
DRAFT = Draft(PROGRAM, Context(dynamic=True, mode="max-autotune"))


def words(edit, draft=DRAFT):
    return Words(draft).of(edit, edit.apply(draft))


SHAPE = Place("all", ("shape", 1)), Place("b", ("args", 2))


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (CutCall("a"), "x * 3 as an input"),
        (CutCall("c"), "without (x * 3).view(2, 3).sum(dim=1)"),
        (CutCall("d"), "one of the 2 torch.sin(y) as an input"),
        (ReplaceNode("b", "a", ""), "x * 3 instead of (x * 3).view(2, 3)"),
        (ReplaceNode("e", "d", ""), "one torch.sin(y) instead of two"),
        (ReplaceNode("mul", "all", ""), "x instead of y"),
        (DropArgument(Place("c", ("kwargs", "dim")), ""), "sum without dim=1"),
        (SetArgument(Place("a", ("args", 1)), 3, 1, ""), "x * 1 instead of x * 3"),
        (
            Resize(SHAPE[0], 3, 2, ((SHAPE[0], 2), (SHAPE[1], 2))),
            "x of shape (2, 3) → (2, 2), (x * 3).view(2, 2) instead of (x * 3).view(2, 3)",
        ),
        (Cast("bfloat16", "float32"), "x and y: bfloat16 → float32"),
        (Cast("bfloat16", "float32", "mul"), "y: bfloat16 → float32"),
        (PlainInput("all", "does not require grad"), "x does not require grad"),
        (SetValue("mul", Value.ZEROS), "y all zeros"),
        (Part((("all", 1), ("mul", 1)), 1, 3), "only [1:3] of dimension 1 of x and 1 of y"),
        (SetContext("dynamic", "without dynamic"), "without dynamic=True"),
        (SetContext("mode", "without mode"), 'without mode="max-autotune"'),
        (SetContext("grad", "without no_grad"), "without no_grad"),
        (DropItem("options", ("bits", 8)), 'without options={"bits": 8}'),
        (DropItem("config", 'mul = "all"'), 'without mul = "all"'),
        (Lies((("mul", 0),), False, "mul does not share memory"), "y does not share memory"),
    ],
)
def test_a_change(edit, expected):
    assert words(edit) == expected


def test_a_layout_that_is_lost():
    turned = Node("mul", Op.INPUT, spec=Tensor((2, 2), strides=(1, 2)), value=Value.ONES)
    where = Place("mul", ("shape", 0))
    less = Resize(where, 2, 1, ((where, 1),))
    told = words(less, DRAFT.with_nodes(mul=turned))
    assert told == "y of shape (2, 2) → (1, 2) and contiguous"


def test_a_dimension_less():
    draft = DRAFT.with_nodes(mul=Node("mul", Op.INPUT, spec=Tensor((1, 3)), value=Value.ONES))
    assert words(DropDimension(("mul",), 0), draft) == "y of shape (1, 3) → (3,)"


def test_a_value_with_a_variable_is_told_by_it():
    used_twice = Node("f", Op.FUNCTION, "torch.add", (Ref("a"), Ref("a")), spec=ONE)
    draft = Draft(Program((*PROGRAM.nodes, used_twice), ("f",)), Context())
    assert words(ReplaceNode("f", "a", ""), draft) == "mul instead of torch.add(mul, mul)"


def test_an_operator_of_the_script_is_called_as_there():
    call = Node("a", Op.FUNCTION, "torch.ops.mine.two.default", (Ref("all"), 2), spec=ONE)
    program = Program((PROGRAM.nodes[0], call), ("a",))
    source = (
        "@torch.library.custom_op('mine::two', mutates_args=())\ndef two(x, n):\n    return x\n"
    )
    draft = Draft(program, Context(operators=(("torch.ops.mine.two", source),)))
    edit = SetArgument(Place("a", ("args", 1)), 2, 1, "")
    assert words(edit, draft) == "two(x, 1) instead of two(x, 2)"


def test_functions_inside():
    inner = Program(
        (
            Node("p", Op.INPUT, spec=ONE),
            Node("q", Op.METHOD, "sin", (Ref("p"),), spec=ONE),
            Node("r", Op.METHOD, "cos", (Ref("q"),), spec=ONE),
        ),
        ("r",),
    )
    call = Node("v", Op.FUNCTION, "torch.vmap", (Body(inner, Ref("r")), Ref("all")), spec=ONE)
    draft = Draft(Program((PROGRAM.nodes[0], call), ("v",)), Context())
    assert words(Inline("v", 0), draft) == "what the function computes, without torch.vmap(...)"
    inside = ReplaceInside("v", 0, "r", "p")
    assert words(inside, draft) == "x instead of sin.cos() in the function of torch.vmap(...)"
    other = InBody("v", 0, Respell("q", "sin", Op.FUNCTION, "torch.sin"))
    told = "torch.sin(x) instead of x.sin() in the function of torch.vmap(...)"
    assert words(other, draft) == told
    assert not says_much(other)


@pytest.mark.parametrize(
    ("operator", "written"),
    [
        ("tag_activation_checkpoint", "checkpoint"),
        ("invoke_subgraph", "region"),
    ],
)
def test_a_call_that_takes_functions_is_named_as_in_the_script(operator, written):
    body = Body(Program((Node("p", Op.INPUT, spec=ONE),), ("p",)), Ref("p"))
    target = f"torch.ops.higher_order.{operator}"
    call = Node("a", Op.FUNCTION, target, (body, Ref("all")), spec=ONE)
    draft = Draft(Program((PROGRAM.nodes[0], call), ("a",)), Context())
    assert words(CutCall("a"), draft) == f"without {written}(...)"


def test_what_is_computed_is_no_news():
    assert not says_much(CutCall("a"))
    assert says_much(SetContext("dynamic", ""))
