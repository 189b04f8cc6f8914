"""What a text costs grows with its length, and no faster: counted in calls, not in seconds."""

from __future__ import annotations

from itertools import pairwise

import pytest
from effort import calls_of

from torchcrux.emit.script import script
from torchcrux.program.context import Context
from torchcrux.program.ir import Node, Op, Program, Ref
from torchcrux.program.spec import Tensor

SPEC = Tensor(shape=(4, 4))


def call(name, target, *operands):
    return Node(name, Op.FUNCTION, target, tuple(map(Ref, operands)), spec=SPEC)


def chain(length):
    """One call again and again, which is a loop."""
    names = ["x0", *(f"v{i}" for i in range(length))]
    calls = [call(new, "torch.sin", old) for old, new in pairwise(names)]
    return Program((Node("x0", Op.INPUT, spec=SPEC), *calls), (names[-1],))


def net(length):
    """Calls of equal shape that are no loop, with values that are used from far."""
    targets = ["torch.sin", "torch.cos", "torch.tanh", "torch.add", "operator.mul"]
    nodes = [Node("x0", Op.INPUT, spec=SPEC)]
    for i in range(length):
        target = targets[i % len(targets)]
        operands = [nodes[-1].name] + [nodes[i // 2].name] * (target in targets[3:])
        nodes.append(call(f"v{i}", target, *operands))
    return Program(tuple(nodes), (nodes[-1].name,))


def calls_to_write(program):
    """How many functions are called, of Python and of C, to write the script of `program`."""
    return calls_of(script, program, Context())


@pytest.mark.parametrize("program", [chain, net])
def test_four_times_the_length_costs_four_times_as_much(program):
    calls_to_write(program(10))  # what is done once
    assert calls_to_write(program(1200)) < 5 * calls_to_write(program(300))
