"""What printed tracebacks say: those of an interpreter that ended, and those of a compiler's worker
process, which come as the message of another exception.
"""

from __future__ import annotations

import re

_IN_SUBPROCESS = "An exception occurred in a subprocess:"
_SUBPROCESS = re.compile(rf"(?:\w*Exception: )?{_IN_SUBPROCESS}\s+")
_HEAD = re.compile(r"^((?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*)(?:: (.*))?$", re.DOTALL)
_CHAINED = re.compile(
    r"\n\n(?:The above exception was the direct cause of the following"
    r"|During handling of the above exception, another) exception(?: occurred)?:\n\n"
)
FRAME = re.compile(r'^  File "([^"]+)", line \d+, in (\S+)$', re.MULTILINE)
"""File and function of a frame."""


def subprocess_part(message: str) -> str:
    """The traceback that a compiler's worker process has sent, as part of `message`; or nothing."""
    found = list(_SUBPROCESS.finditer(message))
    return message[found[-1].end() :] if found else ""


def as_in_one_process(text: str) -> str:
    """`text` that ends with an exception of a compiler's worker process, as it would end had the
    exception been raised here: whether a compiler uses workers depends on the machine."""
    found = list(_SUBPROCESS.finditer(text))
    inner = raised(text[found[-1].end() :]) if found else None
    return (
        text
        if inner is None
        else f"{text[: found[-1].start()]}{inner[0].rpartition('.')[2]}: {inner[1]}"
    )


def raised(text: str) -> tuple[str, str] | None:
    """Type and message of the exception that ends the last traceback in `text`."""
    _, marker, tail = text.rpartition("Traceback (most recent call last):\n")
    lines = tail.splitlines() if marker else []
    start = next((i for i, line in enumerate(lines) if line and not line.startswith(" ")), None)
    head = None if start is None else _HEAD.match("\n".join(lines[start:]))
    return (head.group(1), head.group(2) or "") if head else None


def unpacked(name: str, message: str) -> list[tuple[str, str]]:
    """The type and the message of an exception. Of the wrapper of an exception of a worker process
    those that it wraps, outermost first."""
    if not message.startswith(_IN_SUBPROCESS):
        return [(name, as_in_one_process(message))]
    inner = map(raised, _CHAINED.split(subprocess_part(message)))
    return [pair for pair in inner if pair is not None][::-1] or [(name, message)]
