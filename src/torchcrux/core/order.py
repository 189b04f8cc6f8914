"""Which of two programs that fail alike is the better one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Simplicity:
    """A total order, simplest first: compares field by field, the text only to break a tie.

    operations, inputs: counts. elements: of all inputs together. characters: of the script.
    """

    operations: int
    inputs: int
    elements: int
    characters: int
    text: str

    @classmethod
    def of(cls, text: str, *, operations: int, inputs: int, elements: int) -> Simplicity:
        return cls(operations, inputs, elements, len(text), text)
