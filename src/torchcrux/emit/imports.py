"""Import statements in the order that ``ruff check --select I`` asks for."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from itertools import islice

from torchcrux.emit.layout import WIDTH

_FUNCTIONAL = re.compile(r"F\.(?<![\w.]F\.)")  # begins with a letter: that is searched fast


def ordered(statements: Iterable[str]) -> list[str]:
    """Each of `statements` once: the future, the standard library, the rest; ``import`` before
    ``from``."""
    groups: dict[int, set[str]] = {}
    for statement in statements:
        groups.setdefault(_group(statement), set()).add(statement)
    lines: list[str] = []
    for _, group in sorted(groups.items()):
        lines += [""] * bool(lines) + sorted(group, key=_key)
    return lines


def spelled_out(lines: Sequence[str]) -> list[str]:
    """`lines` with ``torch.nn.functional`` for ``F`` where that is used only once: it needs no
    import then. Not where the line gets too long."""
    uses = islice(_FUNCTIONAL.finditer("\n".join(lines)), 2)
    if len([*uses]) != 1:
        return [*lines]
    at = next(i for i, line in enumerate(lines) if _FUNCTIONAL.search(line))
    whole = _FUNCTIONAL.sub("torch.nn.functional.", lines[at])
    return [*lines] if len(whole) > WIDTH else [*lines[:at], whole, *lines[at + 1 :]]


def _group(statement: str) -> int:
    module = statement.split()[1].partition(".")[0]
    if module == "__future__":
        return 0
    return 1 if module in sys.stdlib_module_names else 2


def _key(statement: str) -> tuple[bool, str, str]:
    words = statement.split()
    return words[0] == "from", words[1].lower(), statement
