"""The graph that eager runs, for comparison with what the compiler makes of it."""

from __future__ import annotations

import copy
from typing import Any

from torch import fx
from torch.utils.checkpoint import checkpoint

_CHECKPOINT = "tag_activation_checkpoint"


def copy_of(gm: fx.GraphModule) -> fx.GraphModule:
    """A graph that later changes of `gm` do not reach, and that computes what the user's code does.
    Parameters and leaf modules are shared."""
    copied = fx.GraphModule(gm, copy.deepcopy(gm.graph))
    for name, child in gm.named_children():
        if isinstance(child, fx.GraphModule):
            setattr(copied, name, copy_of(child))
    changed = False
    for node in copied.graph.nodes:
        if node.op == "call_function" and getattr(node.target, "__name__", "") == _CHECKPOINT:
            node.target, node.kwargs = _checkpointed, {}
            changed = True
    if changed:
        copied.recompile()
    return copied


def _checkpointed(body: fx.GraphModule, *args: Any) -> Any:
    """As the user calls it: the operator in the graph leaves it to a compiler that random numbers
    are the same when backward computes the body again."""
    return checkpoint(body, *args, use_reentrant=False)
