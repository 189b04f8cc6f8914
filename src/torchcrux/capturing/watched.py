"""What is known of a graph that is watched, and what a check of its calls is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from torchcrux.oracle.failure import Failure, is_of_device
from torchcrux.program.context import Context
from torchcrux.program.ir import Program


@dataclass(eq=False)
class Graph:
    """One graph and what it was compiled in.

    `slots` are the names of the arguments in order. `constants` hang on the graph itself.
    `check` compares calls with eager, if that was asked for. `last` are the arguments of the
    latest call that may have a backward. `number` is that of the copy on disk, `calls` how often
    what became of it has been called.
    """

    program: Program
    slots: tuple[str, ...]
    constants: Mapping[str, torch.Tensor]
    context: Context
    notes: tuple[str, ...]
    check: CallCheck | None = None
    has_backward: bool = False
    last: Sequence[Callable[[], Any]] = ()
    number: int = 0
    calls: int = 0


class CallCheck(Protocol):
    """Compares a call of a compiled graph with eager."""

    def call(self, run: Callable[..., Any], args: Sequence[Any]) -> Any:
        """Run, compare, and return the result. Raises what `run` raises, CheckFailed, or
        NotCompared."""


class Checker(Protocol):
    """Makes the checks of a kind of failure that does not show as an exception."""

    def compiling(self, gm: torch.fx.GraphModule) -> AbstractContextManager[Any]:
        """What the compiler runs in."""

    def of(self, gm: torch.fx.GraphModule) -> CallCheck | None:
        """The check of one graph; called before the compiler could change it."""


@dataclass(eq=False)
class CheckFailed(Exception):
    """A compiled graph did something else than eager. `inputs` are from before the call. It
    `writes` if it shows when the outputs are written to."""

    failure: Failure
    inputs: Sequence[Any]
    result: Any
    writes: bool = False


@dataclass(eq=False)
class NotCompared(Exception):
    """Eager refuses a call that the compiled graph has answered: there is nothing to compare with.
    `reason` is what it says."""

    reason: str
    result: Any


def checked(
    check: CallCheck,
    compiled: Callable[..., Any],
    args: Sequence[Any],
    *,
    broken: Callable[[], None],
) -> Any:
    """The result of `check.call`. If something of the check itself fails, that of `compiled`, and
    `broken` is called while the exception is handled: it is not one of the script's."""
    first: list[Any] = []
    raised: list[Exception] = []

    def run(*given: Any) -> Any:
        try:
            result = compiled(*given)
        except Exception as error:
            raised.append(error)
            raise
        if not first:
            first.append(result)
        return result

    try:
        return check.call(run, args)
    except (CheckFailed, NotCompared):
        raise
    except Exception as error:
        late = is_of_device(type(error).__qualname__, str(error))  # of a kernel of the graph
        if late or any(error is one for one in raised):
            raise
        broken()
    return first[0] if first else compiled(*args)


class Stopped(BaseException):
    """Ends the script once wrong numbers, or a compilation too slow, have been found."""
