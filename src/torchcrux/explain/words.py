"""What a single change of a reduced program is called, so that a reader can make it by hand."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from torchcrux.emit.bodies import surroundings
from torchcrux.emit.calls import argument, expression, statement
from torchcrux.emit.function import function
from torchcrux.emit.names import variables
from torchcrux.emit.registered import by_name, names_of
from torchcrux.emit.script import registrations
from torchcrux.passes.arguments import DropArgument, DropOne, SetArgument
from torchcrux.passes.attention import WithoutFunction
from torchcrux.passes.base import Draft, Edit
from torchcrux.passes.bodies import DropOperand, ReplaceInside, SameOperand
from torchcrux.passes.bypass import ReplaceNode
from torchcrux.passes.context import DropItem, DropSetting, SetContext
from torchcrux.passes.cut import CutCall
from torchcrux.passes.in_place import NewValue
from torchcrux.passes.inlining import Inline
from torchcrux.passes.inside import InBody
from torchcrux.passes.layouts import AUTOGRAD_FUNCTION
from torchcrux.passes.numbers import AsNumber
from torchcrux.passes.outputs import DropOutput, ReturnInput, ReturnWritten
from torchcrux.passes.parts import Part
from torchcrux.passes.results import Bare, DropOutcome, DropResult, DropSaved
from torchcrux.passes.sharing import Place
from torchcrux.passes.spelling import Respell
from torchcrux.passes.turns import EarlierSize
from torchcrux.program.ir import Atom, Body, Node, Op, Program, Value
from torchcrux.program.spec import Number, Sequence, Spec, Tensor

LONGEST = 56
"""A call whose text is longer is told by its name."""

_AS_WRITTEN = {
    "invoke_subgraph": "region",
    "tag_activation_checkpoint": "checkpoint",
    "autograd_function_apply": "Function.apply",
    "map_impl": "torch._higher_order_ops.map",
    "scan": "scan",
    "associative_scan": "associative_scan",
}
"""What a script calls a higher-order operator that has another name, or is no part of `torch`."""

_ASSIGNED = re.compile(r"^ *(\w+) = ", re.MULTILINE)
_STRUCTURE = (
    *(CutCall, ReplaceNode, AsNumber, Inline, ReplaceInside, DropOperand, SameOperand, Respell),
    *(DropOutput, ReturnInput, ReturnWritten, DropResult, DropOutcome, DropSaved, Bare),
)


def says_much(edit: Edit) -> bool:
    """Whether it is news that `edit` makes a failure go away: not of what is computed, without
    which there would be no program."""
    if isinstance(edit, InBody):
        return says_much(edit.edit)
    return not isinstance(edit, _STRUCTURE)


class Words:
    """Changes of `draft` in words, with the names of its script. What has no variable there is
    told by its text."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.program = draft.program
        self.names = variables(draft.program)
        self.told = _told(self.program, self.names)
        self.operators = names_of(registrations(self.program, draft.context)[1])

    def of(self, edit: Edit, changed: Draft | None) -> str:
        """`edit`, which makes `changed`."""
        (told,) = by_name([self._of(edit, changed)], self.operators, self.names.values())
        return told

    def _of(self, edit: Edit, changed: Draft | None) -> str:
        match edit:
            case CutCall(name):
                return self._cut(self.program.by_name[name])
            case ReplaceNode(name, by):
                return self._replaced(self.program.by_name[name], self.program.by_name[by])
            case Inline(node, place):
                call = self.program.by_name[node]
                return f"what {_function(call, place)}computes, without {_short(call)}"
            case NewValue(name) if changed is not None:
                there = changed.program.by_name[name]
                return f"{self._text(there)} instead of {self._text(self.program.by_name[name])}"
            case ReplaceInside(node, place, name, by):
                return self._inside(self.program.by_name[node], place, name, by)
            case DropArgument(where) if where.path[0] == "kwargs":
                call = self.program.by_name[where.node]
                value = argument(dict(call.kwargs)[str(where.path[1])], self.told)
                return f"{_bare(call)} without {where.path[1]}={value}"
            case SetContext(field) if field in ("dynamic", "mode"):
                return f"without {field}={argument(getattr(self.draft.context, field), {})}"
            case DropItem("options", (name, value)):
                return f"without options={argument({name: value}, {})}"
            case Part(where, start, stop):
                dims = " and ".join(f"{dim} of {self.names[name]}" for name, dim in where)
                return f"only [{start}:{stop}] of dimension {dims}"
            case InBody(node, place, inner):
                return self._in_body(self.program.by_name[node], place, inner)
            case DropResult(node, at) | DropOutcome(node, at):
                return f"{_short(self.program.by_name[node])} without its result {at + 1}"
            case WithoutFunction():
                return str(edit)
            case SetContext() | DropItem() | DropSetting():
                pass
            case DropArgument() | DropOne() | SetArgument() | Respell():
                pass
            case EarlierSize(what=what):
                name, _, rest = what.partition(".")
                shown = ".".join([self.names.get(name, name), *filter(None, [rest])])
                return str(replace(edit, what=shown))
            case Place():
                return re.sub(r"\w+", lambda word: self.names.get(word[0], word[0]), str(edit))
        different = "" if changed is None else ", ".join(self._differences(changed.program))
        return different or self._by_name(edit)

    def _by_name(self, edit: Edit) -> str:
        """The words of an edit that begin with the name of what it changes."""
        first, _, rest = str(edit).partition(" ")
        if first == getattr(edit, "name", None) and first in self.told:
            return f"{self.told[first]} {rest}"
        return str(edit)

    def _cut(self, node: Node) -> str:
        text = self._text(node)
        alike = sum(self._text(one) == text for one in self.program.calls)
        text = f"one of the {alike} {text}" if alike > 1 else text
        used = any(node.name in one.references() for one in self.program.calls)
        return f"{text} as an input" if used else f"without {text}"

    def _replaced(self, node: Node, by: Node) -> str:
        if node.op is Op.INPUT:
            return f"{self.names[by.name]} instead of {self.names[node.name]}"
        text = self._text(node)
        if by.op is not Op.INPUT and self._text(by) == text:
            return f"one {text} instead of two"
        return f"{self.told[by.name]} instead of {text}"

    def _inside(self, call: Node, place: int, name: str, by: str) -> str:
        body = call.args[place]
        if not isinstance(body, Body):
            return f"{by} instead of {name}"
        names = variables(body.program)
        text = _call_text(body.program.by_name[name], names)
        return f"{names[by]} instead of {text} in {_function(call, place)}of {_short(call)}"

    def _in_body(self, call: Node, place: int, inner: Edit) -> str:
        body = call.args[place]
        if not isinstance(body, Body):
            return str(inner)
        inside = Draft(body.program, self.draft.context)
        words = Words(inside).of(inner, inner.apply(inside))
        return f"{words} in {_function(call, place)}of {_short(call)}"

    def _differences(self, other: Program) -> Iterator[str]:
        """What is not the same in `other`: inputs, and the arguments of calls."""
        changes: dict[str, list[str]] = {}
        for node in self.program.inputs:
            there = other.by_name.get(node.name)
            for change in () if there is None else _of_input(node, there):
                changes.setdefault(change, []).append(self.names[node.name])
        for change, names in changes.items():
            listed = " and ".join([", ".join(names[:-1]), names[-1]][len(names) < 2 :])
            yield f"{listed}{change}"
        for node in self.program.calls:
            there = other.by_name.get(node.name)
            if there is None or (there.op, there.target, there.args, there.kwargs) == (
                *(node.op, node.target, node.args, node.kwargs),
            ):
                continue
            yield f"{self._text(there)} instead of {self._text(node)}"

    def _text(self, node: Node) -> str:
        return _call_text(node, self.told)


def _told(program: Program, names: Mapping[str, str]) -> dict[str, str]:
    """What each value is called: its variable if the script has it, else its text."""
    text = "\n".join(function(program, names, surroundings()))
    assigned = set(_ASSIGNED.findall(text))
    told: dict[str, str] = {}
    for node in program.nodes:
        name = names[node.name]
        if node.op is Op.INPUT or name in assigned:
            told[node.name] = name
        else:
            told[node.name] = _call_text(node, told)
    return told


def _call_text(node: Node, names: Mapping[str, str]) -> str:
    if any(isinstance(arg, Body) for arg in node.args):
        return _short(node)
    text = statement(node, names) or expression(node, names)
    text = text.removeprefix("F.")
    if len(text) > LONGEST and node.op is Op.METHOD:
        short = replace(node, args=(Atom("(...)"), *node.args[1:]))
        text = expression(short, names)
    return text if len(text) <= LONGEST else _short(node)


def _short(node: Node) -> str:
    if node.op is Op.METHOD:
        return f"(...).{node.target}(...)"
    operator = node.target.removeprefix("torch.ops.higher_order.")
    target = _AS_WRITTEN.get(
        operator, node.target if operator == node.target else f"torch.{operator}"
    )
    for module in ("torch.nn.functional.", "torch.nn.attention.flex_attention."):
        target = target.removeprefix(module)
    return f"{target}(...)"


def _bare(node: Node) -> str:
    return node.target.rpartition(".")[2]


def _function(call: Node, place: int) -> str:
    places = [i for i, arg in enumerate(call.args) if isinstance(arg, Body)]
    if call.target == AUTOGRAD_FUNCTION:
        return "backward " if place else "forward "
    if len(places) < 2:
        return "the function "
    return f"function {places.index(place) + 1} "


def _of_input(node: Node, other: Node) -> Iterator[str]:
    """In words that follow the name of the input."""
    old, new = node.spec, other.spec
    if isinstance(old, Number) and isinstance(new, Number) and old != new:
        yield f": {argument(old.value, {})} → {argument(new.value, {})}"
    if _shapes(old) != _shapes(new):
        one, two = _shapes(old), _shapes(new)
        plural = "s" if isinstance(old, Sequence) else ""
        dense = " and contiguous" * (_is_contiguous(new) and not _is_contiguous(old))
        yield f" of shape{plural} {', '.join(map(str, one))} → {', '.join(map(str, two))}{dense}"
    for was, now in zip(_tensors(old), _tensors(new), strict=False):
        if was.dtype != now.dtype:
            yield f": {was.dtype} → {now.dtype}"
        if node.value is Value.RANDOM and now.high is not None and now.high != was.high:
            yield f" below {now.high + 1}"


def _tensors(spec: Spec | None) -> list[Tensor]:
    items = spec.items if isinstance(spec, Sequence) else (spec,)
    return [item for item in items if isinstance(item, Tensor)]


def _is_contiguous(spec: Spec | None) -> bool:
    return all(tensor.is_contiguous for tensor in _tensors(spec))


def _shapes(spec: Spec | None) -> list[tuple[int, ...]]:
    return [tensor.shape for tensor in _tensors(spec)]
