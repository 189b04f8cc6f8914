"""Does a compiled graph need more memory than eager?

A graph is measured at its compilation and at its first call. Eager runs first, on copies of the
inputs: what the process has needed at most by then is what the compiled graph has for free.
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import fx

from torchcrux.capturing.clones import clone_inputs
from torchcrux.capturing.eager import copy_of
from torchcrux.capturing.watched import CallCheck, CheckFailed
from torchcrux.oracle.cost import Bound


@dataclass
class MemoryChecker:
    """A `Checker` that calls it a failure if more than `bound` is needed beyond eager's memory; if
    that is 0, more than eager needs itself: half of it becomes the bound."""

    bound: Bound
    spent: float = 0.0

    def compiling(self, gm: fx.GraphModule) -> AbstractContextManager[Any]:
        return self._measured()

    @contextmanager
    def _measured(self) -> Iterator[None]:
        before = highest_memory()
        try:
            yield
        finally:
            self.spent = highest_memory() - before

    def of(self, gm: fx.GraphModule) -> CallCheck:
        return _Measurement(copy_of(gm), self)


@dataclass
class _Measurement:
    eager: fx.GraphModule
    checker: MemoryChecker
    called: bool = False

    def call(self, run: Callable[..., Any], args: Sequence[Any]) -> Any:
        if self.called:
            return run(*args)
        self.called = True
        compiling = self.checker.spent
        bound = self.checker.bound
        before = clone_inputs(args)
        low = highest_memory()
        self.eager(*clone_inputs(args))
        high = highest_memory()
        result = run(*args)
        spent = compiling + highest_memory() - high
        if bound.most == 0 and spent > max(bound.measure.least, high - low):
            bound = replace(bound, most=round(spent / 2))
        if 0 < bound.most < spent:
            raise CheckFailed(bound.exceeded(spent), before, result)
        return result


def highest_memory() -> float:
    """The most that this process has used by now, in MiB, on an accelerator if there is one in
    use, else resident."""
    if torch.accelerator.is_available() and torch.accelerator.memory_allocated():
        return float(torch.accelerator.max_memory_allocated()) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
