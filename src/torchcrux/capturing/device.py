"""Does what a compiled graph has started on an accelerator end well?

A kernel runs after the call that launched it has returned. What goes wrong in it is raised by
whatever waits for the device next, perhaps in another graph, and from then on nothing in that
process can use the device: not even the inputs of the graph can be read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from torchcrux.capturing.marks import mark
from torchcrux.capturing.watched import CallCheck
from torchcrux.oracle.failure import is_of_device


@dataclass
class DeviceChecker:
    """A `Checker`, and a `CallCheck`, that waits for the accelerator after every call. `lost` is
    true from the moment when it has been found stopped before a call: by the script itself."""

    lost: bool = False

    def compiling(self, gm: fx.GraphModule) -> AbstractContextManager[Any]:
        return nullcontext()

    def of(self, gm: fx.GraphModule) -> CallCheck:
        return self

    def call(self, run: Callable[..., Any], args: Sequence[Any]) -> Any:
        self.lost = self.lost or _is_stopped()
        try:
            result = run(*args)
            wait()
        except Exception as error:
            if self.lost:
                mark(error, "")
            raise
        return result


def wait() -> None:
    """Wait for the accelerator, if there is one. Raises RuntimeError if it has stopped."""
    try:
        torch.accelerator.synchronize()
    except RuntimeError as error:
        if is_of_device(type(error).__name__, str(error)):
            raise


def out_of_reach(values: Sequence[Any]) -> bool:
    """Whether one of `values` is a tensor on an accelerator that this process can no longer use."""
    on_device = [x for x in values if isinstance(x, torch.Tensor) and x.device.type != "cpu"]
    return bool(on_device) and _is_stopped()


def _is_stopped() -> bool:
    try:
        wait()
    except RuntimeError:
        return True
    return False
