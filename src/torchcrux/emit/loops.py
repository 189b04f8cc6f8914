"""Lines that repeat one call, as the loop that a person would write."""

from __future__ import annotations

import io
import re
import tokenize

LEAST = 4
"""So many repetitions make a loop; fewer are read more easily one by one."""
LEAST_COPIES = 3
"""So many equal values that are all returned make a list."""

_ASSIGNMENT = re.compile(r"^(\w+) = (.+)$")
_HOLE = "\0"


def rolled(lines: list[str]) -> list[str]:
    """The body of a function with runs of equal calls as loops: of calls that each take what the
    one before gave, and of calls whose results are all that is returned."""
    return _chains(_copies(lines))


def _copies(lines: list[str]) -> list[str]:
    if not lines or not lines[-1].startswith("return "):
        return lines
    names = lines[-1].removeprefix("return ").split(", ")
    count = len(names)
    made = lines[-1 - count : -1]
    if count < LEAST_COPIES or [_name(line) for line in made] != names:
        return lines
    same = {line.partition(" = ")[2] for line in made}
    if len(same) != 1 or any(_uses(line, name) for line in lines[:-1] for name in names):
        return lines
    return [*lines[: -1 - count], f"return [{same.pop()} for _ in range({count})]"]


def _chains(lines: list[str]) -> list[str]:
    at = 0
    while at < len(lines):
        count = _repeats(lines, at)
        if count >= LEAST:
            name, last = _name(lines[at]), _name(lines[at + count])
            again = (_template(lines, at + 1) or "").replace(_HOLE, name)
            rest = [_renamed(line, last, name) for line in lines[at + count + 1 :]]
            loop = [f"for _ in range({count}):", f"    {name} = {again}"]
            lines = [*lines[: at + 1], *loop, *rest]
        at += 1
    return lines


def _repeats(lines: list[str], at: int) -> int:
    """How many lines after `at` make one call, each on the value of the line before, which
    nothing else uses."""
    template = _template(lines, at + 1)
    if template is None or _HOLE not in template:
        return 0
    end = at + 1
    while _template(lines, end) == template:
        name = _name(lines[end - 1])
        if any(_uses(line, name) for line in (*lines[: end - 1], *lines[end + 1 :])):
            break
        end += 1
    return end - at - 1


def _template(lines: list[str], at: int) -> str | None:
    """The right side of line `at`, with a hole for the value of the line before."""
    if not 0 < at < len(lines):
        return None
    before, this = _ASSIGNMENT.match(lines[at - 1]), _ASSIGNMENT.match(lines[at])
    return _renamed(this[2], before[1], _HOLE) if before and this else None


def _name(line: str) -> str:
    """What an assignment assigns to."""
    return line.partition(" = ")[0]


def _uses(text: str, name: str) -> bool:
    return name in text and bool(_places(text, name))


def _renamed(text: str, name: str, new: str) -> str:
    for at in reversed(_places(text, name)):
        text = text[:at] + new + text[at + len(name) :]
    return text


def _places(text: str, name: str) -> list[int]:
    """Where `text`, of one line, uses the variable: not as a keyword or an attribute, nor where it
    is assigned."""
    tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    return [
        token.start[1]
        for before, token, after in zip([None, *tokens], tokens, tokens[1:], strict=False)
        if token.type == tokenize.NAME
        and token.string == name
        and after.string != "="
        and (before is None or before.string != ".")
    ]
