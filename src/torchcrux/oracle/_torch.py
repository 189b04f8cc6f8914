"""The private PyTorch names behind a warm server, each with the versions it holds for.

What is done here once, before any fork, each candidate would otherwise do by itself.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import os
import random
import sys
import traceback
import types
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast
from unittest import mock

import torch
from torch import nn

from torchcrux import _torch, global_flags
from torchcrux.oracle.compiling import CACHE_DIR, own_cache
from torchcrux.torch_modules import FUNCTORCH_CONFIG, INDUCTOR_CONFIG


def skip_guard_profiling() -> None:
    """Do without a number for torch's own log, for which each compilation flushes the processor's
    caches: `torch._dynamo.guards.profile_guard_manager`, 2.9 to 2.13, some 50 ms each.
    """
    guards: Any = importlib.import_module("torch._dynamo.guards")
    if hasattr(guards, "profile_guard_manager"):
        guards.profile_guard_manager = lambda *_: 0.0


def _small(x: torch.Tensor) -> torch.Tensor:
    # Dynamo imports more for a function of Python's than for an operator, and Inductor simplifies
    # the indices of what is not read in order, for which sympy imports its physics.
    return nn.functional.silu(x.t() + 1).sum()


def compile_once(backend: str = "aot_eager") -> None:
    """Compile something small, forward and backward, for what compilers import and set up at the
    first time.

    A compiler that fails even at this does so in a candidate again, where it is judged.
    """
    # Interpreters of graphs have a progress bar, whose monitor is a thread; no fork can have it.
    importlib.import_module("torch.hub").tqdm.monitor_interval = 0
    skip_guard_profiling()
    state = torch.random.get_rng_state()
    try:
        compiled: Any = torch.compile(_small, backend=backend)
        compiled(torch.ones(2, 3))
        compiled(torch.ones(2, 3, requires_grad=True)).backward()
    except Exception:
        traceback.print_exc()
    torch.random.set_rng_state(state)
    _forget()


def compile_once_with_inductor() -> None:
    """Build the precompiled header and register the patterns as well, which a graph that a cache
    holds would not."""
    shared = os.environ[CACHE_DIR]
    with own_cache(Path(shared).with_name(f"first-{os.getpid()}")):
        compile_once("inductor")


def import_inductor(_: Mapping[str, Any]) -> None:
    """In a child that stays; its server must not."""
    importlib.import_module("torch._inductor.compile_fx")


def compile_first(_: Mapping[str, Any]) -> None:
    """In a child that stays: the first compilation initialises the accelerator."""
    compile_once()


def compile_side_by_side(count: int) -> None:
    """Have Inductor run so many C++ compilers at once, from threads of this process.

    `torch._inductor.config.compile_threads`, and `async_compile.AsyncCompile.use_process_pool`, 2.4
    and newer: the pool of processes that comes with it is for Triton alone.
    """
    if count <= 1:
        return
    pool: Any = importlib.import_module("torch._inductor.async_compile").AsyncCompile
    if hasattr(pool, "use_process_pool"):
        pool.use_process_pool = classmethod(lambda cls: False)
        config: Any = importlib.import_module(INDUCTOR_CONFIG)
        config.compile_threads = count


def look_up_no_graphs() -> None:
    """Compile each graph, also one that the cache holds. `torch._inductor.config.fx_graph_cache`,
    `torch._functorch.config.enable_autograd_cache`, 2.4 and newer."""
    caches = {INDUCTOR_CONFIG: "fx_graph_cache", FUNCTORCH_CONFIG: "enable_autograd_cache"}
    for module, name in caches.items():
        config: Any = importlib.import_module(module)
        if hasattr(config, name):
            setattr(config, name, False)


def _forget() -> None:
    """`torch._dynamo.utils.counters` and `torch._inductor.metrics`, 2.0 and newer."""
    torch.compiler.reset()
    importlib.import_module("torch._dynamo.utils").counters.clear()
    importlib.import_module("torch._inductor.metrics").reset()
    _torch.forget_rules()


def on_library(module: str, told: Callable[[Any], None]) -> None:
    """Have `told` about each `torch.library.Library` that code of `module` makes from now on, by
    itself or through `torch.library.define`, `custom_op` and the like."""
    library: Any = torch.library.Library
    plain = getattr(library.__init__, "__wrapped__", library.__init__)

    @functools.wraps(plain)
    def made(self: Any, *args: Any, **kwargs: Any) -> None:
        plain(self, *args, **kwargs)
        frame = sys._getframe(1)
        while frame.f_back is not None and _is_registering(frame):
            frame = frame.f_back
        if frame.f_globals.get("__name__") == module:
            told(self)

    library.__init__ = made


def _is_registering(frame: types.FrameType) -> bool:
    """The modules behind the functions of `torch.library`, 2.4 and newer."""
    name = str(frame.f_globals.get("__name__"))
    return name in ("torch.library", "functools") or name.startswith("torch._library.")


def destroy(library: Any) -> None:
    """Take back what was registered by a `torch.library.Library`: its `_destroy`, 2.2 and newer."""
    library._destroy()


def dispatch_put_back() -> contextlib.AbstractContextManager[Any]:
    """What of the dispatcher's state a compiler that fails in the middle leaves behind is undone at
    the end of the context. `torch._C._PreserveDispatchKeyGuard`, 2.0 to 2.13."""
    guard = getattr(torch._C, "_PreserveDispatchKeyGuard", contextlib.nullcontext)
    return cast(contextlib.AbstractContextManager[Any], guard())


def forget_backends(module: str) -> None:
    """Take back that functions of `module` were registered as backends of `torch.compile`.
    `torch._dynamo.backends.registry._COMPILER_FNS` and `_BACKENDS`, 2.0 to 2.13."""
    registry = sys.modules.get("torch._dynamo.backends.registry")
    functions: dict[str, Any] = getattr(registry, "_COMPILER_FNS", {})
    for name in [key for key, one in functions.items() if getattr(one, "__module__", "") == module]:
        del functions[name]
        getattr(registry, "_BACKENDS", {}).pop(name, None)


def dispatching(
    call: Callable[[Any, Sequence[Any], Mapping[str, Any]], Any],
) -> contextlib.AbstractContextManager[Any]:
    """Each ATen operator that is called inside, with its arguments, is `call`ed instead.
    `torch.utils._python_dispatch.TorchDispatchMode`, 2.0 and newer."""
    module: Any = importlib.import_module("torch.utils._python_dispatch")

    def dispatched(mode: Any, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return call(func, args, kwargs or {})

    mode = type("Calling", (module.TorchDispatchMode,), {"__torch_dispatch__": dispatched})
    return cast(contextlib.AbstractContextManager[Any], mode())


def _has_rules_of_a_script(table: Mapping[Any, Any]) -> bool:
    return any(getattr(rule, "__module__", "") == "__main__" for rule in table.values())


def keep_state() -> Callable[[], bool]:
    """Note the state that scripts change; what is returned puts it back, and tells whether the
    process is as good as new: not with an accelerator whose last error stays.

    `get_config_copy` and `load_config` of the configuration modules, 2.4 and newer.
    """
    importlib.import_module("torch.hub").tqdm.monitor_interval = 0
    configs = [importlib.import_module(name) for name in _torch.CONFIG_MODULES]
    values = [module.get_config_copy() for module in configs]
    filters = list(warnings.filters)
    devices = ("cpu", "cuda")
    autocast = [(torch.is_autocast_enabled(d), torch.get_autocast_dtype(d)) for d in devices]
    setters: list[tuple[Callable[[Any], Any], Any]] = [
        (torch.set_grad_enabled, torch.is_grad_enabled()),
        (torch.set_default_dtype, torch.get_default_dtype()),
        (torch.set_default_device, None),
        (torch.set_num_threads, torch.get_num_threads()),
        (torch.set_deterministic_debug_mode, torch.get_deterministic_debug_mode()),
        (torch.set_autocast_cache_enabled, torch.is_autocast_cache_enabled()),
        (torch.random.set_rng_state, torch.random.get_rng_state()),
        (random.setstate, random.getstate()),
    ]

    put_flags_back = global_flags.kept()
    rules = [(table, dict(table)) for table in _torch.rule_tables()]

    def put_back() -> bool:
        put_flags_back()
        for set_value, value in setters:
            set_value(value)
        for device, (enabled, dtype) in zip(devices, autocast, strict=True):
            torch.set_autocast_enabled(device, enabled)
            torch.set_autocast_dtype(device, dtype)
        torch.clear_autocast_cache()
        for module, value in zip(configs, values, strict=True):
            now = module.get_config_copy()
            module.load_config({key: old for key, old in value.items() if now[key] is not old})
        for table, entries in rules:
            if table != entries:
                table.clear()
                table.update(entries)
        known = {id(table) for table, _ in rules}
        if any(_has_rules_of_a_script(t) for t in _torch.rule_tables() if id(t) not in known):
            return False  # the table was imported with what the script has put into it
        warnings.resetwarnings()
        cast("list[Any]", warnings.filters)[:] = filters
        _forget()
        gc.collect()
        if torch.is_inference_mode_enabled():
            return False  # it cannot be left from here
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            try:
                torch.cuda.synchronize()
                torch.cuda.empty_cache()
            except RuntimeError:
                traceback.print_exc()
                return False
        return True

    return put_back


STOP = "torch/_inductor/graph.py:_compile_to_module_lines"


class Stops:
    """`used` tells whether a graph was stopped, `failed` whether what took its place did not
    run: the verdict is then not known."""

    used = failed = False


@contextlib.contextmanager
def without_kernels() -> Iterator[Stops]:
    """Inside, Inductor lowers graphs and generates code, but compiles no kernel: what stands for
    the compiled graph is the graph that was lowered, run in eager.

    `GraphLowering._compile_to_module_lines`, `FxGraphCache._save_graph`, `AOTAutogradCache.save`
    (what was stopped must not be found in a cache), 2.13. Changes nothing where they are missing.
    """
    stops = Stops()
    graphs: Any = importlib.import_module("torch._inductor.graph").GraphLowering
    caches: list[tuple[Any, str]] = [
        (importlib.import_module("torch._inductor.codecache").FxGraphCache, "_save_graph"),
        (
            importlib.import_module(
                "torch._functorch._aot_autograd.autograd_cache"
            ).AOTAutogradCache,
            "save",
        ),
    ]
    if not all(hasattr(*each) for each in (*caches, (graphs, "_compile_to_module_lines"))):
        yield stops
        return

    def stop(self: Any, wrapper_code: Any) -> Any:
        stops.used = True
        module = types.ModuleType("stopped")
        module.__file__ = os.devnull
        module.call = call_of(self.module)  # type: ignore[attr-defined]
        return module

    def call_of(lowered: Any) -> Any:
        def call(args: list[Any]) -> Any:
            given = list(args)
            args.clear()
            try:
                with torch.no_grad():
                    return torch.fx.Interpreter(lowered).run(*given, enable_io_processing=False)
            except Exception:
                stops.failed = True
                raise

        return call

    def nothing(*args: Any, **kwargs: Any) -> None:
        pass

    with contextlib.ExitStack() as undo:
        for owner, name, replaced in (
            (graphs, "_compile_to_module_lines", stop),
            *((owner, name, staticmethod(nothing)) for owner, name in caches),
        ):
            undo.enter_context(mock.patch.object(owner, name, replaced))
        yield stops
