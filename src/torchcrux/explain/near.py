"""Programs next to a reduced one: what has to change for it to pass, beyond what can be dropped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from torchcrux.emit.names import variables
from torchcrux.explain.layers import with_backend
from torchcrux.passes.base import Draft
from torchcrux.program.ir import Node, Value
from torchcrux.program.spec import Tensor

MOST = 12
_INPUTS = 2
_DTYPES = {
    "float32": ("float64", "bfloat16"),
    "float64": ("float32",),
    "float16": ("float32",),
    "bfloat16": ("float32",),
    "complex64": ("float32",),
}
_VALUES = {Value.ZEROS: "all zeros", Value.ONES: "all ones"}


def near(draft: Draft) -> list[tuple[str, Draft]]:
    """What is changed, in words with the names of the script, and the changed drafts. Not all of
    them need be programs that eager runs."""
    context, names = draft.context, variables(draft.program)
    found: list[tuple[str, Draft]] = []
    for node in draft.program.inputs[:_INPUTS]:
        found += [
            (words, draft.with_nodes(**{node.name: changed}))
            for words, changed in _inputs(node, names[node.name])
        ]
    if context.grad and not context.backward and not context.inference:
        found.append(
            ("under torch.no_grad()", replace(draft, context=replace(context, grad=False)))
        )
    if context.dynamic is None:
        found.append(("with dynamic=True", replace(draft, context=replace(context, dynamic=True))))
    found = found[: MOST - 1]
    if context.backend.name != "eager":
        found.append(('backend="eager"', with_backend(draft, "eager")))
    return found


def _inputs(node: Node, name: str) -> Iterator[tuple[str, Node]]:
    spec = node.spec
    if not isinstance(spec, Tensor) or spec.form or spec.lengths:
        return
    for dtype in _DTYPES.get(spec.dtype, ("int64",) if spec.dtype != "int64" else ("int32",)):
        changed = replace(spec, dtype=dtype)
        yield f"{name}: {spec.dtype} → {dtype}", replace(node, spec=changed)
    for value, words in _VALUES.items():
        if node.value not in (value, Value.STORED):
            yield f"{name} {words}", replace(node, value=value, elements=())
    if spec.is_floating and not spec.requires_grad:
        grad = replace(spec, requires_grad=True, is_leaf=True)
        yield f"{name} requires grad", replace(node, spec=grad)
    if spec.shape and node.value in _VALUES:
        larger = (*spec.shape[:-1], 64)
        if larger != spec.shape:
            changed = replace(spec, shape=larger, strides=None, symbols=())
            words = f"{name} of shape {spec.shape} → {larger}"
            yield words, replace(node, spec=changed)
