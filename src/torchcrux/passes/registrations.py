"""Custom operators with as little behind them as the failure needs."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from torchcrux.passes.base import Draft, Edit
from torchcrux.passes.trying import TriedFirst
from torchcrux.program.ir import Node, defined
from torchcrux.program.source import is_import, joined, statements
from torchcrux.program.spec import Sequence, Spec, Tensor

_OF_A_SUBCLASS = frozenset({"__tensor_flatten__", "__tensor_unflatten__", "__torch_dispatch__"})
"""What a class of tensors must have to be compiled at all."""


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Replace a statement in every registration that has it; drop it if there is no `new` one."""

    old: str
    new: str
    words: str

    def apply(self, draft: Draft) -> Draft:
        return _rewritten(draft, self._without)

    def _without(self, source: str) -> str:
        parts = statements(source)
        if self.old not in parts:
            return source
        changed = [self.new if part == self.old else part for part in parts]
        return joined(part for part in changed if part) + "\n"

    def __str__(self) -> str:
        return self.words


@dataclass(frozen=True, slots=True)
class DropMethod:
    """Drop a method of a class."""

    cls: str
    method: str

    def apply(self, draft: Draft) -> Draft:
        return _rewritten(draft, self._without)

    def _without(self, source: str) -> str:
        if f"class {self.cls}" not in source:
            return source
        return joined(self._dropped(part) for part in statements(source)) + "\n"

    def _dropped(self, part: str) -> str:
        (node,) = ast.parse(part).body
        if not isinstance(node, ast.ClassDef) or node.name != self.cls or len(node.body) < 2:
            return part
        lines, end = part.splitlines(), 0
        kept: list[str] = []
        for one in node.body:
            first = min([one.lineno, *(item.lineno for item in getattr(one, "decorator_list", ()))])
            until = one.end_lineno or first
            if not isinstance(one, ast.FunctionDef) or one.name != self.method:
                kept += lines[end:until]
            elif end == 0:
                kept += lines[: first - 1]
            end = until
        return "\n".join(kept).rstrip()

    def __str__(self) -> str:
        return f"{self.cls} without {self.method}"


def _rewritten(draft: Draft, change: Callable[[str], str]) -> Draft:
    """`draft` with the text of each registration changed."""
    operators = tuple((name, change(source)) for name, source in draft.context.operators)
    return replace(draft, context=replace(draft.context, operators=operators))


class Registrations(TriedFirst):
    """What an operator computes, its gradient and its fake kernel may not matter; what only serves
    them goes with them. Nor may methods of a class of tensors."""

    name = "registrations"
    summary = "custom operators become stubs; drop what else registers them"
    example = "def op(x): return rotated(x, table)  ->  def op(x): return x.clone()"

    def edits(self, draft: Draft) -> Iterator[Edit]:
        used = defined(draft.program)
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
            (statement,) = ast.parse(part).body
            if isinstance(statement, ast.ClassDef):
                methods = {one.name for one in statement.body if isinstance(one, ast.FunctionDef)}
                for method in sorted(methods - _OF_A_SUBCLASS):
                    yield DropMethod(statement.name, method)
        for node in draft.program.calls:
            if node.target.startswith("torch.ops.") and _returns_alike(node, draft):
                for part in parts:
                    yield from _stubs(part, node.target.split(".")[3], parts)


def _returns_alike(node: Node, draft: Draft) -> bool:
    """Whether a copy of the first operand is what the fake kernel says that `node` returns."""
    first = draft.program.by_name.get((*node.references(), "")[0])
    if first is None:
        return False
    specs = node.spec.items if isinstance(node.spec, Sequence) else (node.spec,)
    given = first.spec.items[0] if isinstance(first.spec, Sequence) else first.spec
    return all(spec is None or _alike(spec, given) for spec in specs)


def _alike(one: Spec, two: Spec | None) -> bool:
    return (
        isinstance(one, Tensor)
        and isinstance(two, Tensor)
        and (one.shape, one.dtype, one.strides) == (two.shape, two.dtype, two.strides)
    )


def _is_kernel(text: str, function: ast.FunctionDef, operator: str, parts: Iterable[str]) -> bool:
    """Whether `function` is what `operator` computes, by its decorators or by a call."""
    if function.decorator_list:
        lines = text.splitlines()[: function.lineno - 1]
        made = any("custom_op" in line or "impl" in line or "triton_op" in line for line in lines)
        return made and any(operator in line and "Meta" not in line for line in lines)
    registering = re.compile(rf"impl\(.*{operator}.*\b{function.name}\b")
    return any("Meta" not in part and registering.search(part) for part in parts)


def _stubs(text: str, operator: str, parts: Iterable[str]) -> Iterator[Rewrite]:
    """The kernel of `operator` with a body that returns copies of its first argument."""
    (function,) = ast.parse(text).body
    if not isinstance(function, ast.FunctionDef) or not function.args.args:
        return
    if not _is_kernel(text, function, operator, parts):
        return
    lines, body = text.splitlines(), function.body[0]
    head = lines[: body.lineno - 1]
    if body.lineno == function.lineno:
        head.append(lines[body.lineno - 1][: body.col_offset].rstrip())
    for returned in _results(function, function.args.args[0].arg):
        new = "\n".join([*head, f"    {returned}"])
        if len(new) < len(text):
            yield Rewrite(text, new, f"{function.name} with the body {returned}")


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
