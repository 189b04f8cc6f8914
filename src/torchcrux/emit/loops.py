"""Lines that repeat one call, as the loop that a person would write."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from itertools import accumulate, groupby, zip_longest

LEAST = 4
"""So many repetitions make a loop; fewer are read more easily one by one."""
LEAST_COPIES = 3
"""So many equal values that are all returned make a list."""

_ASSIGNMENT = re.compile(r"^(\w+) = (.+)$")
_TOKEN = re.compile(r"""\w+|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'""")
"""A name, a number or a string."""
_ASSIGNED = re.compile(r" *=(?!=)")
_WORD = re.compile(r"\w+")
_WORDS = str.maketrans("", "", string.ascii_letters + string.digits + "_")
_HOLE = "\0"


def rolled(lines: list[str]) -> list[str]:
    """The body of a function with runs of equal calls as loops: of calls that each take what the
    one before gave, and of calls whose results are all that is returned."""
    return _chains(_copies(lines))


def _copies(lines: list[str]) -> list[str]:
    if not lines or not lines[-1].startswith("return "):
        return lines
    names = lines[-1].removeprefix("return ").split(", ")
    count = len(names)
    made = lines[-1 - count : -1]
    if count < LEAST_COPIES or [_name(line) for line in made] != names:
        return lines
    if len({line.partition(" = ")[2] for line in made}) != 1:
        return lines
    written = _Lines(lines)
    if any(at < len(lines) - 1 for name in names for at in written.using(name)):
        return lines
    again = made[0].partition(" = ")[2]
    return [*lines[: -1 - count], f"return [{again} for _ in range({count})]"]


def _chains(lines: list[str]) -> list[str]:
    starts = _starts(lines)
    if not starts:
        return lines
    written, behind = _Lines(lines), 0
    for at in starts:
        count = 0 if at < behind else _repeats(written, at)
        if count >= LEAST:
            behind = at + count
            name, last = _name(written.at(at)), _name(written.at(behind))
            again = (_template(written, at + 1) or "").replace(_HOLE, name)
            for use in written.using(last):
                if use > behind:
                    written.put(use, _renamed(written.at(use), last, name))
            loop = [f"for _ in range({count}):", f"    {name} = {again}"]
            written.replace(range(at + 1, behind + 1), loop)
    return written.all()


def _starts(lines: list[str]) -> list[int]:
    """The lines behind which `LEAST` calls may be equal, told by what is called and by all but the
    words: soon, since most of a long function is no loop."""
    kinds = [(_called(line), line.translate(_WORDS)) for line in lines]
    runs = [len([*group]) for _, group in groupby(kinds)]
    found: list[int] = []
    for run, first in zip(runs, accumulate(runs, initial=0), strict=False):
        found += range(max(first - 1, 0), first + run - LEAST)
    return found


def _called(line: str) -> str:
    """The word before the first bracket, empty if there is none."""
    before, bracket, _ = line.partition("(")
    return before.rpartition(".")[2].rpartition(" ")[2] if bracket else ""


def _repeats(lines: _Lines, at: int) -> int:
    """How many lines after `at` make one call, each on the value of the line before, which
    nothing else uses."""
    template = _template(lines, at + 1)
    if template is None or _HOLE not in template:
        return 0
    end = at + 1
    while _template(lines, end) == template:
        name = _name(lines.at(end - 1))
        if any(use not in (end - 1, end) for use in lines.using(name)):
            break
        end += 1
    return end - at - 1


def _template(lines: _Lines, at: int) -> str | None:
    """The right side of line `at`, with a hole for the value of the line before."""
    before, this = _ASSIGNMENT.match(lines.at(at - 1)), _ASSIGNMENT.match(lines.at(at))
    return _renamed(this[2], before[1], _HOLE) if before and this else None


class _Lines:
    """Lines by number, which they keep when others go, and where a word is used."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = dict(enumerate(lines))
        self._having: dict[str, dict[int, None]] = {}
        for at, line in self._lines.items():
            self.put(at, line)

    def at(self, number: int) -> str:
        return self._lines.get(number, "")

    def all(self) -> list[str]:
        return [*self._lines.values()]

    def put(self, number: int, line: str) -> None:
        self._lines[number] = line
        for word in _WORD.findall(line):
            self._having.setdefault(word, {})[number] = None

    def replace(self, numbers: range, fewer: Sequence[str]) -> None:
        for number, line in zip_longest(numbers, fewer):
            if line is None:
                del self._lines[number]
            else:
                self.put(number, line)

    def using(self, name: str) -> list[int]:
        """The lines that use the variable."""
        return [at for at in self._having.get(name, ()) if _uses(self.at(at), name)]


def _name(line: str) -> str:
    """What an assignment assigns to."""
    return line.partition(" = ")[0]


def _uses(text: str, name: str) -> bool:
    return name in text and bool(_places(text, name))


def _renamed(text: str, name: str, new: str) -> str:
    for at in reversed(_places(text, name)):
        text = text[:at] + new + text[at + len(name) :]
    return text


def _places(text: str, name: str) -> list[int]:
    """Where `text`, of one line, uses the variable: not as a keyword or an attribute, nor where it
    is assigned."""
    return [
        found.start()
        for found in _TOKEN.finditer(text)
        if found[0] == name
        and text[found.start() - 1 : found.start()] != "."
        and not _ASSIGNED.match(text, found.end())
    ]
