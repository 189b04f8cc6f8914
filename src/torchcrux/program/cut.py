"""Cutting: any subset of the calls of a program is a program of its own.

A call that is cut away but still used becomes an input that holds the value eager computed there;
a call that loses its users becomes an output; one that never had any does not. So nearly every
subset runs in eager.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import chain, compress

from torchcrux.program.ir import Dataflow, Node, Op, Program, Value
from torchcrux.program.spec import Nothing, Opaque, Sequence, Tensor


class Uncuttable(ValueError):
    """The subset needs a value that cannot be passed as an argument."""


_AS_NUMBERS = bytes.maketrans(b"01", b"\0\1")


def positions(mask: int) -> list[int]:
    """The set bits of `mask`, ascending."""
    bits = bin(mask)[:1:-1].encode().translate(_AS_NUMBERS)
    return [*compress(range(len(bits)), bits)]


def keep(flow: Dataflow, kept: Iterable[int], value: Value = Value.RANDOM) -> Program:
    """The program of the calls at positions `kept` (ascending); its inputs in order of use.

    `value` says how a severed value is made. Costs are linear in what is kept, not in the
    original.

    Raises Uncuttable if a kept call has an obstacle or needs a value that no argument can hold.
    """
    nodes, operands = flow.program.nodes, flow.operands
    listed = list(kept)
    if not flow.projections.isdisjoint(listed):
        listed = _with_their_tuples(flow, listed)
    chosen = set(listed)
    for i in sorted(flow.obstacles & chosen):
        raise Uncuttable(f"{nodes[i].name} cannot be written: {nodes[i].obstacle}")
    used = dict.fromkeys(chain.from_iterable(map(operands.__getitem__, listed)))
    needed = [j for j in used if j not in chosen]
    inputs = tuple(_as_input(nodes[j], value) for j in needed)
    calls = tuple([nodes[i] for i in listed])
    unused = chosen.difference(used) | (chosen & flow.returned)
    results = tuple(nodes[i].name for i in sorted(unused - flow.ignored) if _can_return(nodes[i]))
    if not results:
        results = tuple(nodes[j].name for j in needed if isinstance(nodes[j].spec, Tensor))[:1]
    program = Program((*inputs, *calls), results)
    vars(program).update(inputs=inputs, calls=calls)  # known, and slow to tell apart again
    return program


def severed(program: Program) -> Value:
    """How the values that a further cut severs are made: as what the inputs are, if the values of
    these matter."""
    values = {node.value for node in program.inputs}
    for value in (Value.STORED, Value.LITERAL):
        if value in values:
            return value
    return Value.RANDOM


def _with_their_tuples(flow: Dataflow, kept: list[int]) -> list[int]:
    """`kept` without the items of tuples that are not kept."""
    chosen: dict[int, None] = {}
    for i in kept:
        if i not in flow.projections or flow.operands[i][0] in chosen:
            chosen[i] = None
    return list(chosen)


def writable(program: Program) -> Program:
    """The program without the calls that have an obstacle; what they computed becomes inputs."""
    if not any(node.obstacle for node in program.calls):
        return program
    kept = (
        i
        for i, node in enumerate(program.nodes)
        if node.op is not Op.INPUT and node.obstacle is None
    )
    return keep(Dataflow(program), kept)


def _can_return(node: Node) -> bool:
    if node.target == "operator.setitem":
        return False  # a statement
    return not isinstance(node.spec, (Nothing, Opaque))


def _as_input(node: Node, value: Value) -> Node:
    if node.op is Op.INPUT:
        return node
    if node.spec is None or not _can_return(node):
        raise Uncuttable(f"the value of {node.name} cannot be passed as an argument")
    if isinstance(node.spec, Sequence) and not all(
        isinstance(item, Tensor) for item in node.spec.items
    ):
        raise Uncuttable(f"the values of {node.name} cannot be passed as an argument")
    spec = node.spec
    if isinstance(spec, Tensor):
        spec = replace(spec, is_leaf=True)
    if value is Value.LITERAL and not node.elements:
        value = Value.RANDOM
    return Node(
        node.name,
        Op.INPUT,
        spec=spec,
        origin=node.origin,
        value=value,
        elements=node.elements,
        samples=node.samples,
    )
