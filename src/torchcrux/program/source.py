"""Source text of a user's, as the top-level statements that it is made of."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable

_OPERATOR = re.compile(r"\btorch\.ops\.\w+\.\w+")


def statements(source: str) -> list[str]:
    """The text of each top-level statement, with its decorators and without comments between."""
    lines = source.splitlines()
    found = []
    for node in ast.parse(source).body:
        first = min([node.lineno, *(item.lineno for item in getattr(node, "decorator_list", ()))])
        found.append("\n".join(lines[first - 1 : node.end_lineno]))
    return found


def joined(parts: Iterable[str]) -> str:
    """`parts`, each once, in order, with two empty lines around functions and classes."""
    return spaced(dict.fromkeys(parts))


def spaced(parts: Iterable[str]) -> str:
    """As `joined`, but all of them."""
    text, before = "", ""
    for part in parts:
        if text:
            text += "\n" * (3 if is_definition(before) or is_definition(part) else 1)
        text += part
        before = part
    return text


def operators_in(sources: Iterable[str]) -> set[str]:
    """The operators that code of the user's names, as ``torch.ops.NAMESPACE.OPERATOR``."""
    return {found for source in sources for found in _OPERATOR.findall(source)}


def is_import(statement: str) -> bool:
    return statement.startswith(("import ", "from "))


def is_definition(statement: str) -> bool:
    return statement.startswith(("def ", "class ", "@", "async def "))
