"""Sizes that nobody uses, and checks of them that Dynamo has written into a finished graph.

It will do so again with the repro. There its checks would be calls of the user's, and hide what
comes of a size that nobody has checked.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from torchcrux.program.ir import Node, Op, Program
from torchcrux.program.spec import Number

_CHECK = "torch.ops.aten._assert_scalar.default"
_MESSAGE = "Runtime assertion failed for expression"
"""`torch.fx.passes.runtime_assert.insert_deferred_runtime_asserts` says so, of what a user has
checked with `torch._check` as well."""
_SIZES = frozenset({"size", "stride", "storage_offset"})


def used(calls: Sequence[Node], outputs: Collection[str]) -> list[Node]:
    """`calls` without sizes, and what is computed of them, that nobody uses."""
    wanted = {*outputs}
    kept = []
    for node in reversed(calls):
        if node.name in wanted or not _is_of_sizes(node):
            kept.append(node)
            wanted.update(node.references())
    return kept[::-1]


def without_checks(program: Program) -> Program:
    """`program` itself if it has none."""
    calls = [node for node in program.calls if not _is_check(node)]
    if len(calls) == program.operations:
        return program
    return Program((*program.inputs, *used(calls, program.outputs)), program.outputs)


def _is_check(node: Node) -> bool:
    return (
        node.target == _CHECK
        and len(node.args) > 1
        and isinstance(node.args[1], str)
        and node.args[1].startswith(_MESSAGE)
    )


def _is_of_sizes(node: Node) -> bool:
    if node.op is Op.METHOD:
        return node.target in _SIZES
    if node.target == "operator.getitem":  # it is a size, or what a size is asked of
        return True
    return node.target.startswith("operator.") and isinstance(node.spec, Number)
