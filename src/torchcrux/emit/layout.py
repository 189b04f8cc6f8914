"""Lines that are too long, broken as ``ruff format`` breaks them."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterable, Iterator

WIDTH = 88
_OPEN, _CLOSE = "([{", ")]}"
_MARKS = _OPEN + _CLOSE + ","
_MARK = re.compile(r"""(["'])(?:\\.|(?!\1).)*\1?|[\[\](){},]""", re.DOTALL)


def folded(lines: Iterable[str]) -> list[str]:
    """`lines` of code, each statement on as many lines as it needs."""
    lines, found, done = [*lines], [], 0
    if max(map(len, lines), default=0) <= WIDTH:
        return lines
    for i in [i for i, length in enumerate(map(len, lines)) if length > WIDTH]:
        text = lines[i].lstrip(" ")
        if not text.startswith("#"):
            found += [*lines[done:i], *_statement(text, len(lines[i]) - len(text))]
            done = i + 1
    return [*found, *lines[done:]] if done else lines


def double_quoted(text: str) -> str:
    """`text` of code with the quotes that ``ruff format`` gives to strings."""
    lines = text.splitlines()
    for token in reversed([*tokenize.generate_tokens(io.StringIO(text).readline)]):
        (row, start), (last, end) = token.start, token.end
        if token.type == tokenize.STRING and row == last and not set('"\\') & {*token.string}:
            line, (prefix, inner, _) = lines[row - 1], token.string.split("'")
            lines[row - 1] = f'{line[:start]}{prefix}"{inner}"{line[end:]}'
    return "\n".join(lines)


def _statement(text: str, indent: int) -> list[str]:
    for keyword in ("return ", "with "):
        after = text.removeprefix(keyword).removesuffix(":")
        commas = len(_split(after)) > 1 or keyword == "with "
        if text.startswith(keyword) and commas and not _is_enclosed(after):
            colon = ":" if keyword == "with " else ""
            return _broken(f"{keyword}({after}){colon}", indent, len(keyword))
    return _code(text, indent)


def _code(text: str, indent: int) -> list[str]:
    """Break the last bracket of `text` whose line does not get too long; what has no bracket stays
    too long."""
    if indent + len(text) <= WIDTH:
        return [" " * indent + text]
    brackets = _brackets(text)
    if not brackets:
        return [" " * indent + text]
    at = next((b for b in reversed(brackets) if indent + b < WIDTH), brackets[0])
    return _broken(text, indent, at)


def _broken(text: str, indent: int, at: int) -> list[str]:
    """`text` with the bracket at `at` open: its content on one line if that fits, else one item
    on each."""
    end = _partner(text, at)
    head, content, tail = text[: at + 1], text[at + 1 : end], text[end:]
    pad = " " * indent
    items = [content] if _is_comprehension(content) else _split(content)
    whole = f"{pad}    {content}"
    comma = _keeps_comma(head, items)
    if len(whole) <= WIDTH and not comma and not content.endswith(","):
        body = [whole]
    else:
        comma = len(items) > 1 or content.endswith(",")
        body = [line for item in items for line in _code(item + "," * comma, indent + 4)]
    return [pad + head, *body, pad + tail]


def _keeps_comma(head: str, items: list[str]) -> bool:
    """A tuple, list or dictionary that is broken gets one item a line; the arguments of a call
    may stand together on theirs."""
    before = head[:-1].rstrip(" ")
    called = bool(before) and (before[-1].isalnum() or before[-1] in "_)]")
    keyword = before.rpartition(" ")[2] in ("return", "with", "in", "and", "or", "not")
    return (head[-1] in "[{" or not called or keyword) and len(items) > 1


def _marks(text: str) -> Iterator[tuple[int, str]]:
    """Where brackets and commas stand outside strings, and which."""
    for found in _MARK.finditer(text):
        if found[0] in _MARKS:
            yield found.start(), found[0]


def _brackets(text: str) -> list[int]:
    """Where the brackets with content open that stand inside no other."""
    found, depth, start = [], 0, 0
    for i, mark in _marks(text):
        if mark in _OPEN:
            if depth == 0:
                start = i
            depth += 1
        elif mark in _CLOSE:
            depth -= 1
            if depth == 0 and i > start + 1:
                found.append(start)
    return found


def _partner(text: str, at: int) -> int:
    depth = 0
    for i, mark in _marks(text[at:]):
        depth += (mark in _OPEN) - (mark in _CLOSE)
        if depth == 0:
            return at + i
    raise ValueError(f"a bracket is not closed: {text}")


def _split(text: str) -> list[str]:
    """`text` at its commas, without those inside brackets and strings."""
    items, depth, start = [], 0, 0
    for i, mark in _marks(text):
        depth += (mark in _OPEN) - (mark in _CLOSE)
        if mark == "," and depth == 0:
            items.append(text[start:i].strip())
            start = i + 1
    last = text[start:].strip()
    return [*items, last] if last else items


def _is_comprehension(text: str) -> bool:
    """Whether the commas of `text` separate no items."""
    for at in reversed(_brackets(text)):
        text = text[:at] + text[_partner(text, at) :]
    return " for " in text and " in " in text


def _is_enclosed(text: str) -> bool:
    return text[:1] in _OPEN and bool(text) and _partner(text, 0) == len(text) - 1
