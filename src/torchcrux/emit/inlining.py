"""Values that are used once, in the next line, written where they are used."""

from __future__ import annotations

import ast
import io
import re
import tokenize

WIDTH = 64
"""A line that would become longer is easier to read as two."""
MOST_LINES = 40
"""Of longer functions nobody reads every line."""

_ASSIGNMENT = re.compile(r"^( *)(\w+) = (.+)$")
_TAKES = re.compile(r"^( *)(?:\w+ = |\w+\[[^\]=]*\] = |return |(?=[\w.]+\())")


def inlined(lines: list[str]) -> list[str]:
    """The statements of a function, in which what is computed in one line and used only in the next
    stands there: nothing is evaluated in another order, or more often."""
    if len(lines) > MOST_LINES:
        return lines
    lines = list(lines)
    for at in reversed(range(len(lines) - 1)):
        joined = _joined(lines, at)
        if joined is not None:
            lines[at : at + 2] = [joined]
    return lines


def _joined(lines: list[str], at: int) -> str | None:
    """Line `at` and the next as one; None if they are better left alone."""
    assigned, takes = _ASSIGNMENT.match(lines[at]), _TAKES.match(lines[at + 1])
    if assigned is None or takes is None or assigned[1] != takes[1]:
        return None
    name, value, text = assigned[2], assigned[3], lines[at + 1]
    rest = text[takes.end() :]
    uses = _uses(rest, name)
    again = any(re.search(rf"\b{name}\b", line) for line in lines[at + 2 :])
    reassigned = text.startswith(f"{takes[1]}{name} = ")
    if len(uses) != 1 or (again and not reassigned) or " for " in rest or "lambda" in rest:
        return None
    before, after = rest[: uses[0]], rest[uses[0] + len(name) :]
    if ")" in before:  # something else is computed before it
        return None
    if f"{name}[" in takes[0] or f"[{name}" in takes[0]:
        return None
    if not takes[0].strip() and rest.startswith(f"{name}."):  # it is what is changed
        return None
    alone = (not before or before.endswith(("(", ", ", "["))) and (
        not after or after.startswith((")", ",", "]"))
    )
    if not (alone or _is_primary(value)):
        value = f"({value})"
    joined = text[: takes.end()] + before + value + after
    return joined if len(joined) <= WIDTH else None


def _uses(text: str, name: str) -> list[int]:
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return [t.start[1] for t in tokens if t.type == tokenize.NAME and t.string == name]


def _is_primary(text: str) -> bool:
    """Whether an attribute or a subscript of it needs no parentheses."""
    kind = ast.parse(text, mode="eval").body
    return isinstance(kind, (ast.Call, ast.Attribute, ast.Subscript, ast.Name))
