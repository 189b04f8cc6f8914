"""Any torch.compile failure, boiled down to the ten lines that matter.

    case = torchcrux.capture(fn, *args)        # run it under torch.compile, keep what failed
    result = torchcrux.reduce(case, out="…")   # the smallest script that fails in the same way
    with torchcrux.watch(out="…"): train()     # whatever fails inside is captured and reduced
    graph, inputs = torchcrux.reduce_graph(gm, inputs, fails)

Importing this package does not import torch; the first use of a name does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torchcrux.api import capture, reduce, watch
    from torchcrux.graphs import reduce_graph

__version__ = "0.1.0"

__all__ = ["capture", "reduce", "reduce_graph", "watch"]


def __getattr__(name: str) -> Any:
    if name in ("capture", "reduce", "watch"):
        from torchcrux import api

        return getattr(api, name)
    if name == "reduce_graph":
        from torchcrux.graphs import reduce_graph

        return reduce_graph
    raise AttributeError(f"module 'torchcrux' has no attribute {name!r}")
