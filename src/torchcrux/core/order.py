"""Which of two programs that fail alike is the better one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Simplicity:
    """A total order, simplest first: compares field by field, the text only to break a tie.

    operations, inputs: counts. elements: of all inputs together. kept: inputs whose values are
    kept in a file, or as good as that. drawn: inputs of random values. characters: of the script.
    """

    operations: int
    inputs: int
    elements: int
    kept: int
    drawn: int
    characters: int
    text: str

    @classmethod
    def of(
        cls,
        text: str,
        *,
        operations: int,
        inputs: int,
        elements: int,
        kept: int = 0,
        drawn: int = 0,
    ) -> Simplicity:
        return cls(operations, inputs, elements, kept, drawn, len(text), text)
