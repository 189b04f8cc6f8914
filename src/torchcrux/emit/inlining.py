"""Values that are used once, in the next line, written where they are used."""

from __future__ import annotations

import ast
import io
import re
import tokenize

from torchcrux.emit.calls import is_primary, is_simple

WIDTH = 72
"""A line that would become longer, without its indent, is easier to read as two."""
MOST_LINES = 40
"""Of longer functions nobody reads every line."""

_ASSIGNMENT = re.compile(r"^( *)(\w+) = (.+)$")
_INDEX = re.compile(r"^( *)\w+\[(?=.+\] = [\w.-]+$)")
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
    assigned, takes = _ASSIGNMENT.match(lines[at]), _taking(lines[at + 1])
    if assigned is None or takes is None or assigned[1] != takes[1]:
        return None
    name, value, text = assigned[2], assigned[3], lines[at + 1]
    rest = text[takes.end() :]
    uses = [use - takes.end() for use in _uses(text, name) if use >= takes.end()]
    again = any(_uses(line, name) for line in lines[at + 2 :])
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
    if after.startswith("[0]") and _is_single(value):
        value, after = value[1:-2], after.removeprefix("[0]")
    alone = (not before or before.endswith(("(", ", ", "["))) and (
        not after or after.startswith((")", ",", "]"))
    )
    if not (alone or is_primary(value) or _is_factor(value, before, after)):
        value = f"({value})"
    if not is_simple(value):
        before, after = _spaced_power(before, after)
    joined = text[: takes.end()] + before + value + after
    return joined if len(joined) - len(takes[1]) <= WIDTH else None


def _spaced_power(before: str, after: str) -> tuple[str, str]:
    """What stands around an operand that is no longer a name, with spaces around ``**``."""
    if before.endswith("**"):
        before = f"{before.removesuffix('**')} ** "
    if after.startswith("**"):
        after = f" ** {after.removeprefix('**')}"
    return before, after


def _taking(line: str) -> re.Match[str] | None:
    """What stands in `line` before all that it evaluates, but for names and plain numbers."""
    return _INDEX.match(line) or _TAKES.match(line)


def _uses(text: str, name: str) -> list[int]:
    """Where `text`, of one line, has the variable `name`: an attribute is another thing."""
    if not re.search(rf"\b{name}\b", text):
        return []
    tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    return [
        token.start[1]
        for i, token in enumerate(tokens)
        if token.type == tokenize.NAME and token.string == name
        if not (i and tokens[i - 1].string == ".")
    ]


def _is_single(value: str) -> bool:
    """Whether `value` is a tuple of one item, written out."""
    if not value.endswith(",)"):
        return False
    made = ast.parse(value, mode="eval").body
    return isinstance(made, ast.Tuple) and len(made.elts) == 1


def _is_factor(value: str, before: str, after: str) -> bool:
    """Whether `value` is a product next to a plus or minus."""
    product = ast.parse(value, mode="eval").body
    return (
        isinstance(product, ast.BinOp)
        and isinstance(product.op, (ast.Mult, ast.Div))
        and (not before or before.endswith((" + ", "(", ", ")))
        and (not after or after.startswith((")", ",", " + ", " - ")))
    )
