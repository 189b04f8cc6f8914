"""Where it is looked first."""

from torchcrux.leads import around, leads, likely
from torchcrux.oracle.failure import Failure, Kind, Stage
from torchcrux.passes.base import Draft
from torchcrux.program.context import Context
from torchcrux.program.ir import Node, Op, Program, Ref

CHAIN = ("relu", "sin", "gelu", "sin", "erf", "sin")


def draft():
    nodes = [Node("x", Op.INPUT)]
    for i, name in enumerate(CHAIN):
        nodes.append(Node(f"v{i}", Op.FUNCTION, f"torch.{name}", (Ref(nodes[-1].name),)))
    return Draft(Program(tuple(nodes), ("v5",)), Context())


def failure(message):
    return Failure(Kind.COMPILE_ERROR, Stage.BACKEND, (("E", message),), ())


def test_a_named_call_is_asked_alone_and_with_what_is_around_it():
    assert leads(draft(), failure("no lowering for erf")) == (0b10000, 0b111000, 0b111110)


def test_what_is_around_all_that_is_named_is_asked_as_well():
    several = leads(draft(), failure("no lowering for relu, nor for erf"))
    assert several == (0b1, 0b10000, 0b10001, 0b11, 0b111011, 0b111111)


def test_no_name_no_lead():
    assert leads(draft(), failure("no lowering")) == ()


def test_around_goes_back_and_to_the_users():
    assert around(draft().program, [2], 1) == 0b1110
    assert around(draft().program, [0], 3) == 0b11
    assert around(draft().program, [0, 5], 1) == 0b110011


def test_what_is_seldom_or_named_is_likely():
    program = draft().program
    said = likely(program, [1 << 4, 0b111])
    assert said[4] == max(said)
    assert said[0] == said[2] > said[1] == said[3] == said[5]
