"""Long programs: each call is written once, whatever else is kept, and computes the same."""

from __future__ import annotations

from itertools import pairwise

import torch
from effort import calls_of

from torchcrux.emit.plainly import LONG, is_long
from torchcrux.emit.script import script
from torchcrux.oracle.naming import renamed
from torchcrux.passes.base import Draft
from torchcrux.passes.cut import CutLevel
from torchcrux.program.context import Context
from torchcrux.program.graph import to_graph_module
from torchcrux.program.ir import Node, Op, Program, Ref, Region
from torchcrux.program.spec import Tensor

SPEC = Tensor(shape=(2,))
TARGETS = ("torch.sin", "torch.add", "torch.cos", "operator.iadd", "operator.mul")


def net(length):
    """Calls of which some write in place, some stand in a scope, and some have a name that means
    something else in a script."""
    nodes = [Node("data", Op.INPUT, spec=SPEC), Node("f", Op.INPUT, spec=SPEC)]
    for i in range(length):
        target = TARGETS[i % len(TARGETS)]
        binary = target in ("torch.add", "operator.iadd", "operator.mul")
        operands = (nodes[-1].name, nodes[i // 2].name)[: 1 + binary]
        regions = (Region("torch.no_grad()", 0),) * (i % 50 < 3)
        name = "torch" if i == 7 else f"v{i}"
        args = tuple(map(Ref, operands))
        nodes.append(Node(name, Op.FUNCTION, target, args, spec=SPEC, regions=regions))
    return Program(tuple(nodes), (nodes[-1].name, nodes[-9].name))


def test_a_long_program_computes_what_its_graph_does():
    program = net(LONG + 50)
    assert is_long(program) and not is_long(net(LONG))
    text = script(program, Context()).partition("\nbackend = ")[0]
    space = {}
    exec(text, space)
    inputs = [torch.rand(2), torch.rand(2)]
    expected = to_graph_module(program)(*(x.clone() for x in inputs))
    torch.testing.assert_close(space["f"](*inputs), expected)


def test_a_loop_is_short_however_often_it_runs():
    names = ["x", *(f"v{i}" for i in range(2 * LONG))]
    calls = [
        Node(new, Op.FUNCTION, "torch.sin", (Ref(old),), spec=SPEC) for old, new in pairwise(names)
    ]
    program = Program((Node("x", Op.INPUT, spec=SPEC), *calls), (names[-1],))
    assert not is_long(program)
    assert len(script(program, Context()).splitlines()) < 20


def test_a_further_candidate_costs_little_for_each_call_that_it_keeps():
    size = 4 * LONG
    level = CutLevel(Draft(net(size), Context()))

    def judged(mask):
        draft = level.candidate(mask)
        script(draft.program, draft.context)
        renamed(draft.program)

    judged(0)  # each call is written
    assert calls_of(judged, 1 << size // 2) < 10 * size
