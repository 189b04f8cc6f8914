"""The private PyTorch names behind a warm server, each with the versions it holds for.

What is done here once, before any fork, each candidate would otherwise do by itself.
"""

from __future__ import annotations

import importlib
import os
import shutil
import traceback
from pathlib import Path

import torch

from torchcrux import _torch


def compile_once(backend: str = "aot_eager") -> None:
    """Compile something small, forward and backward, for what compilers import and set up at the
    first time.

    A compiler that fails even at this does so in a candidate again, where it is judged.
    """
    # Interpreters of graphs have a progress bar, whose monitor is a thread; no fork can have it.
    importlib.import_module("torch.hub").tqdm.monitor_interval = 0
    state = torch.random.get_rng_state()
    try:
        compiled = torch.compile(lambda x: (x + 1).sum(), backend=backend)
        compiled(torch.ones(2, 3))
        compiled(torch.ones(2, 3, requires_grad=True)).backward()
    except Exception:
        traceback.print_exc()
    torch.random.set_rng_state(state)
    _forget()


def prepare_inductor() -> None:
    """Probe the instruction sets, build the precompiled header, register the patterns.

    What was probed is copied aside, for the fresh interpreters that verify.
    """
    cache = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
    cache.mkdir(parents=True, exist_ok=True)
    _torch.probe_instruction_sets()
    shutil.copytree(cache, cache.with_name("constants"), dirs_exist_ok=True)
    compile_once("inductor")


def _forget() -> None:
    """`torch._dynamo.utils.counters` and `torch._inductor.metrics`, 2.0 and newer."""
    torch.compiler.reset()
    importlib.import_module("torch._dynamo.utils").counters.clear()
    importlib.import_module("torch._inductor.metrics").reset()
