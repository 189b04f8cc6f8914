"""Programs next to a reduced one: what has to change for it to pass, beyond what can be dropped."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torchcrux.emit.names import variables
from torchcrux.explain.layers import with_backend
from torchcrux.explain.words import Words
from torchcrux.passes.arguments import SetArgument
from torchcrux.passes.base import Draft
from torchcrux.program.ir import Node, Value
from torchcrux.program.literals import Place, literals
from torchcrux.program.spec import Tensor

MOST = 12
_INPUTS = 2
_NUMBERS = 2
_FACTORS = (2.0, 0.5, 10.0, 0.1, 0.0)
"""Of a number in a call, the nearest first."""
_DTYPES = {
    "float32": ("float64", "bfloat16"),
    "float64": ("float32",),
    "float16": ("float32",),
    "bfloat16": ("float32",),
    "complex64": ("float32",),
}
_VALUES = {Value.ZEROS: "all zeros", Value.ONES: "all ones"}


@dataclass(frozen=True, slots=True)
class Miss:
    """A changed draft. Of those that pass and are `about` one number the first is told. What is
    `rare` mends few programs."""

    words: str
    draft: Draft
    about: str = ""
    rare: bool = False


def near(draft: Draft, sized: Collection[str] = ()) -> list[Miss]:
    """What is changed, in words with the names of the script, and the changed drafts. Not all of
    them need be programs that eager runs. `sized` are inputs of whose size all is known."""
    context, names = draft.context, variables(draft.program)
    found: list[Miss] = []
    for node in draft.program.inputs[:_INPUTS]:
        found += [
            Miss(words, draft.with_nodes(**{node.name: changed}), about, rare)
            for words, changed, about, rare in _inputs(node, names[node.name], node.name in sized)
        ]
    if context.grad and not context.backward and not context.inference:
        found.append(Miss("under torch.no_grad()", _with(draft, grad=False)))
    if context.dynamic is None:
        found.append(Miss("with dynamic=True", _with(draft, dynamic=True), rare=True))
    found = found[: MOST - 1]
    if context.backend.name != "eager":
        found.append(Miss('backend="eager"', with_backend(draft, "eager")))
    return [*found, *_numbers(draft)]


def nearest(passing: Sequence[Miss]) -> list[str]:
    """What is changed in words, of each number the nearest."""
    seen: set[str] = set()
    told = []
    for miss in passing:
        if not (miss.about and miss.about in seen):
            told.append(miss.words)
        seen.add(miss.about)
    return told


def _with(draft: Draft, **changes: Any) -> Draft:
    return replace(draft, context=replace(draft.context, **changes))


def _inputs(node: Node, name: str, sized: bool) -> Iterator[tuple[str, Node, str, bool]]:
    spec = node.spec
    if not isinstance(spec, Tensor) or spec.form or spec.lengths:
        return
    for dtype in _DTYPES.get(spec.dtype, ("int64",) if spec.dtype != "int64" else ("int32",)):
        changed = replace(spec, dtype=dtype)
        yield f"{name}: {spec.dtype} → {dtype}", replace(node, spec=changed), "", False
    for value, words in _VALUES.items():
        if node.value not in (value, Value.STORED):
            yield f"{name} {words}", replace(node, value=value, elements=()), "", False
    if spec.is_floating and not spec.requires_grad:
        grad = replace(spec, requires_grad=True, is_leaf=True)
        yield f"{name} requires grad", replace(node, spec=grad), "", True
    if spec.shape and node.value in _VALUES and not sized:
        for size in dict.fromkeys((spec.shape[-1] + 1, 64)):
            larger = (*spec.shape[:-1], size)
            if larger != spec.shape:
                changed = replace(spec, shape=larger, strides=None, symbols=())
                words = f"{name} of shape {spec.shape} → {larger}"
                yield words, replace(node, spec=changed), f"shape of {name}", True


def _numbers(draft: Draft) -> Iterator[Miss]:
    """Real numbers in calls: the nearest that passes says more than that a plain one does."""
    words = Words(draft)
    places = [
        (Place(node.name, path), value)
        for node in draft.program.calls
        for path, value in literals(node)
        if isinstance(value, float) and math.isfinite(value)
    ]
    for place, value in places[:_NUMBERS]:
        for number in [value * factor for factor in _FACTORS] if value else [1.0]:
            edit = SetArgument(place, value, float(f"{number:.3g}"), "")
            changed = edit.apply(draft)
            yield Miss(words.of(edit, changed), changed, str(place), rare=True)
