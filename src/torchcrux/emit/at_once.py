"""Inputs that are written where the compiled function is called, as one would by hand."""

from __future__ import annotations

import re
from collections.abc import Sequence

from torchcrux.emit.layout import WIDTH


def handed_over(
    variables: Sequence[str], inputs: list[str], calls: list[str]
) -> tuple[list[str], list[str]]:
    """`inputs`, of which the last lines make the `variables`, without these, and `calls`, of which
    one line uses each of them once and no other line any, with what they make; both as they are if
    that line gets long, or stands in a scope."""
    rest, last = inputs[: len(inputs) - len(variables)], inputs[len(inputs) - len(variables) :]
    made = [line.partition(" = ") for line in last]
    arguments = f"({', '.join(variables)})"
    if not made or [name for name, _, _ in made] != [*variables]:
        return inputs, calls
    callers = [i for i, line in enumerate(calls) if line.count(arguments) == 1]
    if len(callers) != 1 or calls[callers[0]].startswith(" "):
        return inputs, calls
    (at,) = callers
    whole = calls[at].replace(arguments, f"({', '.join(value for _, _, value in made)})")
    if len(whole) > WIDTH:
        return inputs, calls
    used = re.compile(rf"\b(?:{'|'.join(map(re.escape, variables))})\b")
    if any(used.search(line.replace(arguments, "")) for line in calls):
        return inputs, calls
    return rest, [*calls[:at], whole, *calls[at + 1 :]]
