"""A user's code that comes along, without what is never executed.

`probed` has a source write down which of its blocks are executed; `without_unexecuted` takes the
others away, and then what nothing uses any more.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator, Sequence
from itertools import compress

from torchcrux.emit.entries import without_entries
from torchcrux.emit.layout import WIDTH
from torchcrux.emit.source_lines import SourceLines, first_line, is_docstring
from torchcrux.emit.unused import without_unused

PROBE = "_torchcrux_executed"
_HELPER = f"""def {PROBE}(block, known=set()):
    if block not in known:
        known.add(block)
        with open({{trail!r}}, "a") as file:
            file.write(f"{{{{block}}}}\\n")


"""
_ACTING = (ast.NamedExpr, ast.Await, ast.Yield, ast.YieldFrom)
_LOGS = re.compile(
    r"(print|(.*\.)?_*(log|logger|logging|warnings)\.(debug|info|warn|warning|error|critical|log))\(",
    re.IGNORECASE,
)


def has_blocks(source: str) -> bool:
    """Whether there is anything that may not be executed."""
    return bool(_Blocks(source).blocks)


def probed(source: str, trail: str, name: str) -> str:
    """`source`, which adds ``name:number`` to the file `trail` for each block that is executed, of
    those that `without_unexecuted` may take away."""
    whole = _Blocks(source)
    lines = [*whole.lines]
    places = {_place(body): (number, body) for number, body in enumerate(whole.blocks)}
    for at in sorted(places, reverse=True):
        number, body = places[at]
        lines.insert(at - 1, f'{whole.indent(body[0])}{PROBE}("{name}:{number}")')
    rest = [node for node in whole.tree.body if not isinstance(node, (ast.Import, ast.ImportFrom))]
    lines.insert(first_line(rest[0]) - 1, _HELPER.format(trail=trail))
    return "\n".join(lines) + "\n"


def without_unexecuted(
    source: str,
    executed: Collection[int],
    used: Collection[str],
    *,
    bold: bool,
    tables: bool = False,
) -> str:
    """`source` without the blocks whose number is not among the `executed`, without docstrings and
    what is only logged, and without what only these use; `used` are names that the rest of the
    script uses.

    With `tables`, what is never called is no longer in the tables that name it.
    Unless `bold`, what may have an effect by being there at all stays: conditions that call
    something, functions that a decorator has seen, what is logged.
    """
    trim = _Trim(source, executed, bold=bold)
    trim.block(trim.tree.body)
    left = without_entries(trim.text()) if tables else trim.text()
    return without_unused(left, used, bold=bold)


class _Blocks(SourceLines):
    """A source and its blocks, in an order that depends on it alone."""

    def __init__(self, source: str) -> None:
        super().__init__(source)
        self.blocks = [body for body in self._all() if self.starts_line(body[0])]

    def _all(self) -> Iterator[list[ast.stmt]]:
        for node in ast.walk(self.tree):
            match node:
                case ast.If(body=body, orelse=other):
                    yield body
                    if other and not self.next_condition(node):
                        yield other
                case ast.For(orelse=[]) | ast.AsyncFor(orelse=[]) | ast.While(orelse=[]):
                    yield node.body
                case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ExceptHandler():
                    yield node.body

    def next_condition(self, node: ast.If) -> ast.If | None:
        """The `elif` of an `if`."""
        match node.orelse:
            case [ast.If() as inner] if self.lines[inner.lineno - 1].lstrip().startswith("elif"):
                return inner
        return None

    def line_of_else(self, other: Sequence[ast.stmt]) -> int:
        """Where the keyword above a block stands, counted from 1."""
        at = first_line(other[0])
        while not re.match(r"\s*else\s*:", self.lines[at - 1]):
            at -= 1
        return at


class _Trim(_Blocks):
    """Takes away what is not executed, from the inside out."""

    def __init__(self, source: str, executed: Collection[int], *, bold: bool) -> None:
        super().__init__(source)
        self._bold = bold
        self._acting = _ACTING if bold else (*_ACTING, ast.Call)
        self._unexecuted = {
            id(body[0]) for number, body in enumerate(self.blocks) if number not in executed
        }

    def block(self, body: Sequence[ast.stmt]) -> bool:
        """Whether any of its statements is left."""
        left = [one for one in body if self._is_left(one)]
        if not left:
            self.put("pass", body[0])
        return bool(left)

    def _is_left(self, node: ast.stmt) -> bool:
        """Whether anything is left of a statement."""
        match node:
            case ast.Expr(value=ast.Call() as call) if self._bold and _logs(call):
                return self._acts(call) or not self.drop(node)
            case ast.If():
                return self._conditions(node)
            case ast.For() | ast.AsyncFor() | ast.While():
                said = node.test if isinstance(node, ast.While) else node.iter
                if not node.orelse and self._can_go(node.body, said) and self.drop(node):
                    return False
                left = self.block(node.body)
                if node.orelse:
                    self.block(node.orelse)
                elif not (left or self._acts(said) or isinstance(node, ast.While)):
                    return not self.drop(node)
            case ast.Try():
                self._try(node)
            case ast.With() | ast.AsyncWith():
                self.block(node.body)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self._function(node)
            case ast.ClassDef():
                self.block(self._without_docstring(node))
        return True

    def _is_unexecuted(self, body: Sequence[ast.stmt]) -> bool:
        return bool(body) and id(body[0]) in self._unexecuted

    def _can_go(self, body: Sequence[ast.stmt], said: ast.expr) -> bool:
        """Whether a block can go with the condition that it has."""
        return self._is_unexecuted(body) and not self._acts(said)

    def _acts(self, said: ast.expr) -> bool:
        return any(isinstance(one, self._acting) for one in ast.walk(said))

    def _conditions(self, node: ast.If) -> bool:
        """An `if` with its `elif` and `else`: whether anything is left."""
        chain = [node]
        while inner := self.next_condition(chain[-1]):
            chain.append(inner)
        other = chain[-1].orelse
        no_other = self._is_unexecuted(other)
        gone = [self._can_go(one.body, one.test) for one in chain]
        if all(gone) and (no_other or not other) and self.drop(node):
            return False
        if all(gone) and not self._may_move(other):
            gone[0] = False
        at_else = self.line_of_else(other) if other else 0
        starts = [one.lineno for one in chain]
        ends = [*starts[1:], at_else or (node.end_lineno or 0) + 1]
        for one, start, end, goes in zip(chain, starts, ends, gone, strict=True):
            if goes:
                self.clear(start, end - 1)
            else:
                self.block(one.body)
        if no_other:
            self.clear(at_else, node.end_lineno)
        elif other:
            self.block(other)
        left = [*compress(chain, [not goes for goes in gone])]
        if not left:
            self.clear(at_else, first_line(other[0]) - 1)
            self.move(other, self.indent(node))
        elif left[0] is not node:
            self.put(self.lines[left[0].lineno - 1].lstrip().removeprefix("el"), left[0])
        return True

    def _try(self, node: ast.Try) -> None:
        gone = [self._is_unexecuted(one.body) for one in node.handlers]
        for body in filter(None, (node.body, node.orelse, node.finalbody)):
            self.block(body)
        bodies = [node.body, node.orelse]
        if node.handlers and all(gone) and not node.finalbody and all(map(self._may_move, bodies)):
            self.clear(node.lineno, first_line(node.body[0]) - 1)
            self.clear(node.handlers[0].lineno, node.handlers[-1].end_lineno)
            if node.orelse:
                self.clear(self.line_of_else(node.orelse), first_line(node.orelse[0]) - 1)
            for body in filter(None, bodies):
                self.move(body, self.indent(node))
            return
        for one, goes in zip(node.handlers, gone, strict=True):
            if not goes:
                self.block(one.body)
            elif not all(gone):
                self.clear(one.lineno, one.end_lineno)

    def _may_move(self, body: Sequence[ast.stmt]) -> bool:
        """Whether its lines can be indented otherwise: they are its own, and no text goes over
        several."""
        return not body or (
            self.starts_line(body[0])
            and not any(
                isinstance(one, (ast.Constant, ast.JoinedStr)) and one.end_lineno != one.lineno
                for statement in body
                for one in ast.walk(statement)
            )
        )

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        if not self._is_unexecuted(node.body):
            self.block(self._without_docstring(node))
            return
        first = first_line(node.body[0])
        while self.lines[first - 2].lstrip().startswith("#"):
            first -= 1
        self.clear(first, node.end_lineno)
        head = self.lines[first - 2].rstrip()
        if head.endswith(":") and len(head) + 4 <= WIDTH:
            self.kept[first - 2] = f"{head} ..."
        else:
            self.put("...", node.body[0])

    def _without_docstring(
        self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    ) -> list[ast.stmt]:
        """The statements of its body but for that."""
        first, *rest = node.body
        return rest if rest and is_docstring(first) and self.drop(first) else node.body


def _logs(call: ast.Call) -> bool:
    return _LOGS.match(ast.unparse(call)) is not None


def _place(body: Sequence[ast.stmt]) -> int:
    """The line of the first statement that is no docstring; behind that, if it is the only one."""
    if not is_docstring(body[0]):
        return first_line(body[0])
    return first_line(body[1]) if len(body) > 1 else (body[0].end_lineno or 0) + 1
