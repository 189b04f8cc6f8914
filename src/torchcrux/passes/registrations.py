"""Custom operators with as little behind them as the failure needs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, replace

from torchcrux.passes.base import Draft, Edit
from torchcrux.passes.trying import TriedFirst
from torchcrux.program.ir import targets
from torchcrux.program.source import is_import, joined, statements


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Replace a statement in every registration that has it; drop it if there is no `new` one."""

    old: str
    new: str
    words: str

    def apply(self, draft: Draft) -> Draft:
        operators = tuple((name, self._without(source)) for name, source in draft.context.operators)
        return replace(draft, context=replace(draft.context, operators=operators))

    def _without(self, source: str) -> str:
        parts = statements(source)
        if self.old not in parts:
            return source
        changed = [self.new if part == self.old else part for part in parts]
        return joined(part for part in changed if part) + "\n"

    def __str__(self) -> str:
        return self.words


class Registrations(TriedFirst):
    """What an operator computes, its gradient and its fake kernel may not matter; what only serves
    them goes with them."""

    name = "registrations"
    summary = "custom operators become stubs; drop what else registers them"
    example = "def op(x): return rotated(x, table)  ->  def op(x): return x.clone()"

    def edits(self, draft: Draft) -> Iterator[Edit]:
        used = set(targets(draft.program))
        parts = dict.fromkeys(
            part
            for name, source in draft.context.operators
            if any(target == name or target.startswith(name + ".") for target in used)
            for part in statements(source)
        )
        for part in parts:
            if not is_import(part):
                yield Rewrite(part, "", f"without {part.splitlines()[0]}")
        for part in parts:
            (node,) = ast.parse(part).body
            if isinstance(node, ast.FunctionDef):
                yield from _stubs(part, node)


def _stubs(text: str, function: ast.FunctionDef) -> Iterator[Rewrite]:
    """The function with a body that returns copies of its first argument, or nothing."""
    parameters = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    if not parameters or parameters[0].arg in ("ctx", "self"):
        return
    first = parameters[0].arg
    lines = text.splitlines()
    body = function.body[0]
    inline = body.lineno == function.lineno
    for returned in _results(function, first):
        head = lines[: body.lineno - 1]
        if inline:
            head = [lines[body.lineno - 1][: body.col_offset].rstrip()]
            head = [*lines[: body.lineno - 1], *head]
        new = "\n".join([*head, f"    {returned}"])
        if len(new) < len(text):
            words = f"{function.name} with the body {returned}"
            yield Rewrite(text, new, words)


def _results(function: ast.FunctionDef, first: str) -> Iterator[str]:
    told = ast.unparse(function.returns) if function.returns else ""
    if told == "None":
        yield "pass"
        return
    given = function.args.args[0].annotation if function.args.args else None
    listed = given is not None and "[" in ast.unparse(given)
    items = [f"{first}[0].clone()"] if listed else [f"{first}.clone()"]
    if given is None:
        items.append(f"{first}[0].clone()")
    count = told.count(",") + 1 if "[" in told else _returned(function)
    for item in items:
        yield f"return {', '.join([item] * count)}"


def _returned(function: ast.FunctionDef) -> int:
    """How many values the last return has."""
    last = function.body[-1]
    if isinstance(last, ast.Return) and isinstance(last.value, ast.Tuple):
        return len(last.value.elts)
    return 1
