"""The backends below the default one, and settings of it that a user can change."""

from __future__ import annotations

from dataclasses import replace

from torchcrux.passes.base import Draft
from torchcrux.program.context import Backend

DEFAULT = "inductor"
LADDER = ("eager", "aot_eager", "aot_eager_decomp_partition")
"""Each runs more of the compiler than the one before; `DEFAULT` runs all of it."""

_SETTINGS = (
    "torch._inductor.config.pattern_matcher = False",
    "torch._inductor.config.max_fusion_size = 1",
    "torch._inductor.config.epilogue_fusion = False",
    "torch._inductor.config.split_reductions = False",
    "torch._inductor.config.emulate_precision_casts = True",
    "torch._inductor.config.cpp.simdlen = 1",
)


def is_default(draft: Draft) -> bool:
    return draft.context.backend == Backend(DEFAULT)


def with_backend(draft: Draft, name: str) -> Draft:
    """`mode` and `options` are the default backend's own."""
    context = replace(draft.context, backend=Backend(name), mode=None, options=())
    return replace(draft, context=context)


def ladder(draft: Draft) -> list[tuple[str, Draft]]:
    """Nothing for a backend that is not torch's default."""
    if not is_default(draft):
        return []
    return [(name, with_backend(draft, name)) for name in LADDER]


def settings(draft: Draft) -> list[tuple[str, Draft]]:
    """What a user could change without touching the model."""
    context = draft.context
    found = []
    if context.dynamic is not False:
        fixed = replace(context, dynamic=False)
        found.append(("torch.compile(…, dynamic=False)", replace(draft, context=fixed)))
    if not is_default(draft):
        return found
    for line in _SETTINGS:
        changed = replace(context, config=(*context.config, line))
        found.append((line, replace(draft, context=changed)))
    return found
