"""Inputs that are written where the compiled function is called, as one would by hand."""

from __future__ import annotations

from collections.abc import Sequence

from torchcrux.emit.layout import WIDTH


def handed_over(
    variables: Sequence[str], inputs: list[str], calls: list[str]
) -> tuple[list[str], list[str]]:
    """`inputs`, of which the last lines make the `variables`, without these, and `calls`, one line
    that uses each of them once, with what they make; both as they are if that line gets long."""
    rest, last = inputs[: len(inputs) - len(variables)], inputs[len(inputs) - len(variables) :]
    made = [line.partition(" = ") for line in last]
    arguments = f"({', '.join(variables)})"
    if not made or len(calls) != 1 or calls[0].count(arguments) != 1:
        return inputs, calls
    if [name for name, _, _ in made] != [*variables]:
        return inputs, calls
    whole = calls[0].replace(arguments, f"({', '.join(value for _, _, value in made)})")
    return (inputs, calls) if len(whole) > WIDTH else (rest, [whole])
