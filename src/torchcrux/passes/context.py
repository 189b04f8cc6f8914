"""Drop what surrounds the graph: modes, options, configuration, scopes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

from torchcrux.passes.base import Draft, Edit
from torchcrux.program.context import Context
from torchcrux.program.ir import Region
from torchcrux.program.source import is_definition, is_import, joined, statements

_SETTING = re.compile(r"torch(\.\w+)+ = ")


@dataclass(frozen=True, slots=True)
class SetContext:
    """Give a field of the context its default."""

    field: str
    words: str

    def apply(self, draft: Draft) -> Draft:
        default: Any = getattr(Context(), self.field)
        return replace(draft, context=replace(draft.context, **{self.field: default}))

    def __str__(self) -> str:
        return self.words


@dataclass(frozen=True, slots=True)
class DropItem:
    """Drop one item of a tuple in the context."""

    field: str
    item: Any

    def apply(self, draft: Draft) -> Draft:
        left: Any = tuple(item for item in getattr(draft.context, self.field) if item != self.item)
        return replace(draft, context=replace(draft.context, **{self.field: left}))

    def __str__(self) -> str:
        if self.field == "options":
            return f"without {self.item[0]}"
        if self.field == "earlier":
            return f"without the call for {', '.join(str(size) for _, size in self.item)} before it"
        return f"without {self.item.splitlines()[-1]}"  # a setting may stand behind a function


@dataclass(frozen=True, slots=True)
class DropSetting:
    """Drop what a text of the user's sets at its end, and with it what only serves that. What is
    executed before may have an effect of its own; it may set the same."""

    item: str

    def apply(self, draft: Draft) -> Draft:
        rest = statements(self.item)[:-1]
        kept = [joined(rest) + "\n"] * any(map(_is_executed, rest))
        config: list[str] = []
        for one in draft.context.config:
            config += kept if one == self.item else [one]
        return replace(draft, context=replace(draft.context, config=tuple(config)))

    def __str__(self) -> str:
        return f"without {self.item.splitlines()[-1]}"


def _is_executed(statement: str) -> bool:
    return not (is_import(statement) or is_definition(statement) or " = " in statement)


def _is_set_behind_others(item: str) -> bool:
    """Whether a text of the user's ends by setting something of torch's."""
    *before, last = statements(item)
    return any(map(_is_executed, before)) and bool(_SETTING.match(last))


@dataclass(frozen=True, slots=True)
class DropRegion:
    region: Region

    def apply(self, draft: Draft) -> Draft:
        changes = {
            node.name: replace(node, regions=tuple(r for r in node.regions if r != self.region))
            for node in draft.program.calls
            if self.region in node.regions
        }
        return draft.with_nodes(**changes)

    def __str__(self) -> str:
        return f"without {self.region.text}"


_PLAIN = {
    "weighted": "with ones as the gradients of the outputs",
    "writes": "without writing to the output",
    "fullgraph": "without fullgraph=True",
    "mode": "without mode",
    "dynamic": "without dynamic",
    "marked": "without mark_dynamic",
    "earlier": "without calls of other sizes before it",
    "calls": "called once",
    "anew": "with the same inputs at each call",
    "compilations": "compiled once",
    "equal_nan": "without equal_nan=True",
    "changes": "comparing only what is returned",
    "synchronized": "without waiting for the accelerator",
    "module": "with arguments instead of parameters and buffers",
    "updated": "without an update of the module between two calls",
    "inference": "outside inference mode",
    "grad": "without no_grad",
}


class PlainContext:
    """Arguments of torch.compile, ambient modes and configuration back to their defaults."""

    name = "context"
    summary = "drop modes, options and configuration that the failure does not need"
    example = 'torch.compile(f, mode="max-autotune")  ->  torch.compile(f)'

    def edits(self, draft: Draft) -> Iterator[Edit]:
        default = Context()
        for name in (field.name for field in fields(Context)):
            value = getattr(draft.context, name)
            if value == getattr(default, name):
                continue
            if name in ("environment", "operators"):
                continue  # set for good where it is judged; go with their calls
            if name in _PLAIN:
                yield SetContext(name, _PLAIN[name])
            elif isinstance(value, tuple):
                for item in value:
                    behind = name == "config" and _is_set_behind_others(item)
                    yield DropSetting(item) if behind else DropItem(name, item)


class Backward:
    """A failure of the forward pass needs no backward pass."""

    name = "backward"
    summary = "drop the backward pass"
    example = "f(x).sum().backward()  ->  f(x)"

    def edits(self, draft: Draft) -> Iterator[Edit]:
        if draft.context.backward:
            yield SetContext("backward", "without backward")


class Regions:
    """Scopes inside the function: autocast, no_grad."""

    name = "regions"
    summary = "drop autocast and grad-mode scopes inside the function"
    example = "with torch.autocast(...): y = x @ w  ->  y = x @ w"

    def edits(self, draft: Draft) -> Iterator[Edit]:
        regions = dict.fromkeys(r for node in draft.program.calls for r in node.regions)
        for region in regions:
            yield DropRegion(region)
