"""An exception object is one failure, however many layers it passes: it bears a record's name."""

from __future__ import annotations

from collections.abc import Sequence

from torchcrux.capturing.frames import without_our_frames
from torchcrux.oracle.failure import Failure, from_exception

_MARK = "__torchcrux_case__"


def mark(error: BaseException, name: str) -> None:
    setattr(error, _MARK, name)


def is_marked(error: BaseException) -> bool:
    return hasattr(error, _MARK)


def marked_with(error: BaseException) -> str:
    """The name of its record, empty if it has none."""
    return str(getattr(error, _MARK, ""))


def chain(error: BaseException | None) -> Sequence[BaseException]:
    links: list[BaseException] = []
    while error is not None and error not in links:
        links.append(error)
        error = error.__cause__ or error.__context__
    return links


def described(error: Exception, *, compiling: bool, backward: bool = False) -> Failure:
    """The failure that an exception is, with a traceback that does not show us."""
    whole = error.__traceback__
    error.__traceback__ = without_our_frames(whole)
    try:
        return from_exception(error, compiling=compiling, backward=backward)
    finally:
        error.__traceback__ = whole
