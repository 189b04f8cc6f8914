"""The error in a few lines, as a person would paste it: no path of this machine, short numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence

from torchcrux.oracle.failure import Failure, Kind
from torchcrux.oracle.message import gist

LINES = 3
_WIDTH = 200
_ONE_LINE = 160
_TOLD = 3
_CAST = re.compile(r"^([\w, ]+): [a-z]\w+ → ([a-z]\w+)$")
_NUMBER = re.compile(r"^(\w+): \S+ → (\S+)$")
_SHAPE = re.compile(r"(?<= of shape) \([\d, ]*\) →")
_VALUES = re.compile(r"^(\w+) (random|all \S+)$")
_MOST_TOLD = 160
_PATH = re.compile(r"(?<![\w.)\]:/])(?:~|\.{1,2})?(?:/[\w.+@~=-]+)+/([\w.+@~=-]+)")
_URL = re.compile(r"https?://\S+")
_HASH = re.compile(r"\b(?:[a-z2-7]{40,}|(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{16,})\b")
_LONG = re.compile(r"(?<![\w.])-?\d+\.\d{5,}(?:e[-+]?\d+)?")
_RAISED = re.compile(r"^backend='[^\n]*' raised:$")
_DIFFERENCE = re.compile(r"^(Greatest absolute difference: .*?)(?: \(up to .*)?$")
_SITE = re.compile(r"(?:/[\w.+@~=-]+)+/(?:site|dist)-packages/")
_PATIENCE = re.compile(r" within [\d.]+ s$")
_SAID = ("Greatest absolute difference: ", "Expected ")


def shortened(text: str) -> str:
    """`text` without folders, hashed names and digits that nobody reads. Addresses on the web
    stay as they are."""
    pieces, end = [], 0
    for url in _URL.finditer(text):
        pieces += [_plain(text[end : url.start()]), url[0]]
        end = url.end()
    return "".join([*pieces, _plain(text[end:])])


def _plain(text: str) -> str:
    text = _SITE.sub("", text)
    text = _HASH.sub("…", _PATH.sub(r"\1", text))
    return _LONG.sub(lambda number: f"{float(number[0]):.4g}", text)


def note(failure: Failure) -> str:
    """What stands below the repro, at most three lines."""
    name, message = failure.exceptions[0]
    name = name.removeprefix("builtins.")
    lines = [line.strip() for line in gist(message).splitlines() if line.strip()]
    if lines and _RAISED.match(lines[0]) and len(lines) > 1:
        name, lines = name.rpartition(".")[2], lines[1:]
    if len(lines) > 1 and lines[0].startswith(("Tensor-likes", "Scalars")):
        told = next((line for line in lines[1:] if line.startswith(_SAID)), lines[1])
        found = _DIFFERENCE.match(told)
        lines = [f"{lines[0]} {found[1] if found else told}"]
    if failure.kind is Kind.HANG:  # how long one waits is up to the one who waits
        lines = [_PATIENCE.sub("", line) for line in lines]
    lines = [_cut(shortened(line)) for line in lines[:LINES]]
    if not lines:
        return name
    shown = [f"{name}: {lines[0]}"]
    for line in lines[1:]:
        if len(shown[-1]) + len(line) < _ONE_LINE:
            shown[-1] = f"{shown[-1].rstrip(':.;')}; {line}"
        else:
            shown.append(line)
    return "\n".join(shown)


def _cut(line: str) -> str:
    return line if len(line) <= _WIDTH else line[: _WIDTH - 2].rstrip() + " …"


def passing(necessary: Sequence[tuple[str, str]]) -> list[str]:
    """The changes that make a repro pass."""
    return [change for change, verdict in necessary if verdict == "passes"]


def _short(change: str) -> str:
    return _NUMBER.sub(r"\1 = \2", _CAST.sub(r"\1 in \2", _SHAPE.sub("", change)))


def _joined(changes: Sequence[str]) -> list[str]:
    """`changes`, of which those of the values of one input are one."""
    values: dict[str, list[str]] = {}
    for change in changes:
        if found := _VALUES.match(change):
            values.setdefault(found[1], []).append(found[2])
    joined = []
    for change in changes:
        found = _VALUES.match(change)
        told = values.pop(found[1], []) if found else []
        if found is None:
            joined.append(change)
        elif told:
            joined.append(
                f"{found[1]} {' or '.join([', '.join(told[:-1]), told[-1]][len(told) < 2 :])}"
            )
    return joined


def conditions(changes: Sequence[str]) -> str:
    """A line on what makes the repro pass, to follow the error; empty if nothing is known. That it
    passes without a compiler goes without saying."""
    known = [change for change in changes if not change.startswith("backend=")]
    short = [_short(change) for change in _joined(known)[:_TOLD]]
    while len(short) > 1 and len("; ".join(short)) > _MOST_TOLD:
        short.pop()
    told = "; ".join(short)
    return f"\nPasses: {told}" if told else ""
