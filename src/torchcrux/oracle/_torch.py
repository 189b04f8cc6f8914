"""The private PyTorch names behind a warm server, each with the versions it holds for.

What is done here once, before any fork, each candidate would otherwise do by itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import gc
import hashlib
import importlib
import json
import os
import random
import shutil
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

from torchcrux import _torch, global_flags, machine
from torchcrux.oracle.compiling import CACHE_DIR, link_all, tests_of_instructions
from torchcrux.run import linux
from torchcrux.run.child import NICENESS
from torchcrux.torch_modules import FUNCTORCH_CONFIG, INDUCTOR_CONFIG


def skip_guard_profiling() -> None:
    """Do without a number for torch's own log, for which each compilation flushes the processor's
    caches: `torch._dynamo.guards.profile_guard_manager`, 2.9 to 2.13, some 50 ms each.
    """
    guards: Any = importlib.import_module("torch._dynamo.guards")
    if hasattr(guards, "profile_guard_manager"):
        guards.profile_guard_manager = lambda *_: 0.0


def probe_instruction_sets() -> dict[str, bool]:
    """Find out once, before any fork, which vector instructions Inductor's C++ code may use; what
    came of each test program, for `know_instruction_sets`.

    Each process that compiles would otherwise build and load up to three of them for each set of
    instructions. `torch._inductor.cpu_vec_isa.supported_vec_isa_list` and `x86_isa_checker`, 2.4 to
    2.13. They are built and loaded side by side, by forks of this process.
    """
    module = importlib.import_module("torch._inductor.cpu_vec_isa")
    has = set(getattr(module, "x86_isa_checker", list)())
    found: dict[str, bool] = {}
    answers = {}
    for isa in getattr(module, "supported_vec_isa_list", ()):
        if not has.issuperset(str(isa).split()):
            continue
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.write(writer, json.dumps(_tested(isa)).encode())
            finally:
                os._exit(0)
        os.close(writer)
        answers[child] = reader
    for child, reader in answers.items():
        with os.fdopen(reader) as answer:
            found.update(json.loads(answer.read() or "{}"))
        os.waitpid(child, 0)
    know_instruction_sets(found)
    return found


def _tested(isa: object) -> dict[str, bool]:
    """What comes of the test programs of a set of instructions."""
    found: dict[str, bool] = {}
    with _looked_up(lambda: found):
        bool(isa)
    return found


def know_instruction_sets(found: dict[str, bool]) -> None:
    """Settle for this process which vector instructions there are, without the test programs whose
    outcome was `found`. `torch._inductor.cpu_vec_isa.valid_vec_isa_list` (cached), 2.4 to 2.13."""
    module = importlib.import_module("torch._inductor.cpu_vec_isa")
    with _looked_up(lambda: found):
        getattr(module, "valid_vec_isa_list", list)()


@functools.cache
def look_up_instruction_sets(cache: Path) -> object:
    """Which vector instructions there are, `probe_inductor_beside` has found out or is about to:
    Inductor waits for that in this process, when it wants to know.

    What is returned is to be kept: it would be taken back with it.
    """
    looked_up = _looked_up(functools.cache(functools.partial(_probed, cache)))
    looked_up.__enter__()
    return looked_up


def _probed(cache: Path) -> dict[str, bool]:
    tests = tests_of_instructions(cache)
    try:
        with tests.with_suffix(".lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
        return dict(json.loads(tests.read_text()))
    except FileNotFoundError:
        return {}


@contextlib.contextmanager
def _looked_up(found: Callable[[], dict[str, bool]]) -> Iterator[None]:
    """Inside, no test program is built and loaded whose outcome is in `found`; those of others are
    noted there. `torch._inductor.cpu_vec_isa.VecISA.check_build`, 2.4 to 2.13."""
    cls: Any = importlib.import_module("torch._inductor.cpu_vec_isa").VecISA
    original = getattr(cls, "check_build", None)
    if original is None:
        yield
        return

    def check_build(self: Any, code: str) -> bool:
        key = f"{self}: {hashlib.sha256(code.encode()).hexdigest()}"
        if key not in found():
            found()[key] = bool(original(self, code))
        return found()[key]

    with mock.patch.object(cls, "check_build", check_build):
        yield


def _small(x: torch.Tensor) -> torch.Tensor:
    # Dynamo imports more for a function of Python's than for an operator.
    return nn.functional.silu(x + 1).sum()


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
    """Build the precompiled header and register the patterns as well."""
    compile_once("inductor")


def probe_inductor() -> dict[str, bool]:
    """Find out what Inductor asks of the machine, and copy it aside, for the fresh interpreters
    that verify. What came of each test program, as `know_instruction_sets` takes it."""
    cache = Path(os.environ[CACHE_DIR])
    cache.mkdir(parents=True, exist_ok=True)
    machine.recall(cache)
    found = probe_instruction_sets()
    machine.keep(cache)
    partial = cache.with_name(f"constants-{os.getpid()}")
    shutil.copytree(cache, partial)
    try:
        partial.rename(cache.with_name("constants"))
    except OSError:  # another process was faster
        shutil.rmtree(partial)
    return found


def probe_inductor_beside() -> int:
    """In a process that ends, whose number is returned: one that has asked an accelerator's driver
    cannot be forked. What is found out comes into the compiler's cache as a whole, at the end."""
    parent = os.getpid()
    shared = Path(os.environ[CACHE_DIR])
    shared.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(tests_of_instructions(shared).with_suffix(".lock"), os.O_CREAT | os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    child = os.fork()
    if child:
        os.close(lock)
        return child
    status = 1
    try:
        linux.die_with(parent)
        os.nice(NICENESS)
        own = shared.with_name(f"probed-{os.getpid()}")
        os.environ[CACHE_DIR] = str(own)
        found = probe_inductor()
        link_all(own, shared)
        (own / "found").write_text(json.dumps(found))
        (own / "found").rename(tests_of_instructions(shared))
        status = 0
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(status)


def import_inductor(_: Mapping[str, Any]) -> None:
    """In a child that stays; its server must not."""
    importlib.import_module("torch._inductor.compile_fx")


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


def with_arguments(
    change: Callable[[Any, Sequence[Any]], Sequence[Any]],
) -> contextlib.AbstractContextManager[Any]:
    """Each ATen operator that is called inside gets the positional arguments that `change` makes
    of the operator and its own. `torch.utils._python_dispatch.TorchDispatchMode`, 2.0 and newer."""
    module: Any = importlib.import_module("torch.utils._python_dispatch")

    def dispatched(mode: Any, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*change(func, args), **(kwargs or {}))

    mode = type("Changing", (module.TorchDispatchMode,), {"__torch_dispatch__": dispatched})
    return cast(contextlib.AbstractContextManager[Any], mode())


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
