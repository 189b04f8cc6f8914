"""How long a candidate may take: a reduced loop may have no end."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType

LEAST = 120.0
FACTOR = 10.0
"""A candidate has so many seconds, or so many times what the slowest took that was no smaller.
The first C++ kernel of a process may wait a minute for what the processor can do."""

LEAST_EAGER = 3.0
"""The same for one that eager only tries; the factor goes over what the one before took."""

FIRST_EAGER = 10.0
"""For the first in a process, which imports what they need; the factor goes over what the captured
program took."""


@dataclass
class Patience:
    """`longest` are seconds for a candidate with more operations than any that has ended."""

    longest: float
    _largest: int = -1
    _slowest: float = 0.0

    def ended(self, operations: int, seconds: float) -> None:
        """A candidate of so many operations has ended by itself."""
        self._largest = max(self._largest, operations)
        self._slowest = max(self._slowest, seconds)

    def of(self, operations: int) -> float:
        """Seconds for a candidate of so many operations."""
        if operations > self._largest:
            return self.longest
        return min(self.longest, max(LEAST, FACTOR * self._slowest))


class TooLong(BaseException):
    """What runs here has had its time. No handler of exceptions is to take it for another."""


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise TooLong inside after so many seconds, wherever Python runs then; not outside of the
    main thread, which alone gets signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def over(number: int, frame: FrameType | None) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
