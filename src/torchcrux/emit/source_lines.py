"""A source of the user's of which statements are taken away; the lines that stay are as they were
written."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from itertools import groupby


class SourceLines:
    """A parsed source, and its lines: those that are gone are None in `kept`."""

    def __init__(self, source: str) -> None:
        self.lines = source.splitlines()
        self.tree = ast.parse(source)
        self.kept: list[str | None] = [*self.lines]

    def drop(self, node: ast.stmt) -> bool:
        """Take a statement away, with the comments right above it; whether it has lines of its
        own, without which it stays."""
        if not (self.starts_line(node) and self._ends_line(node)):
            return False
        first = first_line(node)
        while first > 1 and self.lines[first - 2].startswith(f"{self.indent(node)}#"):
            first -= 1
        self.clear(first, node.end_lineno)
        return True

    def clear(self, first: int, last: int | None) -> None:
        """Take the lines from `first` to `last`, counted from 1, away."""
        assert last is not None
        self.kept[first - 1 : last] = [None] * (last - first + 1)

    def put(self, text: str, node: ast.stmt) -> None:
        """Have `text` stand where the first line of a statement stood."""
        self.kept[first_line(node) - 1] = f"{self.indent(node)}{text}"

    def move(self, body: Sequence[ast.stmt], indent: str) -> None:
        """Give what is left of a block another, smaller, `indent`."""
        less = len(self.indent(body[0])) - len(indent)
        for at in range(first_line(body[0]) - 1, body[-1].end_lineno or 0):
            line = self.kept[at]
            self.kept[at] = line if line is None else line[less:]

    def indent(self, node: ast.stmt) -> str:
        line = self.lines[first_line(node) - 1]
        return line[: len(line) - len(line.lstrip())]

    def starts_line(self, node: ast.stmt) -> bool:
        decorated = self.lines[first_line(node) - 1].lstrip().startswith("@")
        return decorated or not self.lines[node.lineno - 1].encode()[: node.col_offset].strip()

    def _ends_line(self, node: ast.stmt) -> bool:
        assert node.end_lineno is not None
        rest = self.lines[node.end_lineno - 1].encode()[node.end_col_offset :].strip()
        return not rest or rest.startswith(b"#")

    def text(self) -> str:
        """What is left; of the empty lines around a gap those on its longer side, and none below
        what opens a block."""
        left: list[str] = []
        for _, group in groupby(self.kept, key=lambda line: bool(line and line.strip())):
            found = [*group]
            if None not in found:
                left += [line for line in found if line is not None]
            elif left and not left[-1].rstrip().endswith(":"):
                left += [""] * max(found.index(None), found[::-1].index(None))
        return "\n".join(left).rstrip("\n") + "\n"


def first_line(node: ast.stmt) -> int:
    """The line, from 1, at which a statement begins with its decorators."""
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(one.lineno for one in decorators)])


def is_docstring(node: ast.stmt) -> bool:
    match node:
        case ast.Expr(value=ast.Constant(value=str())):
            return True
    return False


def is_stub(body: Sequence[ast.stmt]) -> bool:
    match body:
        case [ast.Expr(value=ast.Constant(value=value))]:
            return value is ...
    return False
