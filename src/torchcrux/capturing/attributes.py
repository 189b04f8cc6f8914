"""Is what a compiled graph returns like what eager returns, beyond its values?

Its strides, whether it requires grad, what it shares memory with, and whether it may be written
to. None of this is asked unless a program fails although all values are right: a compiler may have
reasons to return other strides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from torchcrux.capturing.clones import clone_inputs
from torchcrux.capturing.eager import copy_of
from torchcrux.capturing.gradients import leaves
from torchcrux.capturing.watched import CallCheck, CheckFailed
from torchcrux.oracle.failure import Failure, Kind, Stage, from_exception
from torchcrux.oracle.numerics import Mismatch
from torchcrux.oracle.tolerance import ALIASES


class AttributeChecker:
    """A `Checker` of the first call of every compiled graph."""

    def compiling(self, gm: fx.GraphModule) -> AbstractContextManager[Any]:
        return nullcontext()

    def of(self, gm: fx.GraphModule) -> CallCheck:
        return _Attributes(copy_of(gm))


@dataclass
class _Attributes:
    eager: fx.GraphModule
    called: bool = False

    def call(self, run: Callable[..., Any], args: Sequence[Any]) -> Any:
        if self.called:
            return run(*args)
        self.called = True
        before, inputs = clone_inputs(args), clone_inputs(args)
        result = run(*args)
        try:
            expected = self.eager(*inputs)
        except Exception:  # what eager refuses is like nothing
            return result
        mismatch = _mismatch(leaves(expected), inputs, leaves(result), args)
        if mismatch is not None:
            raise CheckFailed(
                Failure(
                    kind=Kind.ACCURACY,
                    stage=Stage.RUN,
                    exceptions=(("AssertionError", str(mismatch)),),
                    frames=(),
                    metric=mismatch.to_json(),
                ),
                before,
                result,
            )
        if _writable(leaves(expected)) is None:
            again = run(*clone_inputs(before))
            error = _writable(leaves(again))
            if error is not None:
                failure = from_exception(error, compiling=False)
                raise CheckFailed(failure, before, result, writes=True)
        return result


def _mismatch(
    eager: Sequence[Any], given: Sequence[Any], compiled: Sequence[Any], got: Sequence[Any]
) -> Mismatch | None:
    """`given` and `got` are the inputs of the two calls."""
    pairs = zip(eager, compiled, strict=True)
    tensors = [
        (i, one, two)
        for i, (one, two) in enumerate(pairs)
        if isinstance(one, torch.Tensor) and isinstance(two, torch.Tensor)
    ]
    for index, one, two in tensors:
        facts: list[tuple[str, Any, Any]] = [
            ("requires_grad", one.requires_grad, two.requires_grad)
        ]
        if one.layout is torch.strided:
            facts.append(("stride", one.stride(), two.stride()))
            facts.append((ALIASES, _aliases(one, given), _aliases(two, got)))
        for name, expected, actual in facts:
            if expected != actual:
                return Mismatch(index, name, str(expected), str(actual))
    return None


def _aliases(output: torch.Tensor, inputs: Sequence[Any]) -> list[bool]:
    """With which of the inputs it shares memory."""
    own = output.untyped_storage().data_ptr()
    return [
        x.layout is torch.strided and x.untyped_storage().data_ptr() == own
        for x in inputs
        if isinstance(x, torch.Tensor)
    ]


def _writable(outputs: Sequence[Any]) -> RuntimeError | None:
    """What is raised when one of the outputs is written to."""
    try:
        for out in outputs:
            if isinstance(out, torch.Tensor) and out.is_floating_point():
                out.mul_(1)
    except RuntimeError as error:
        return error
    return None
