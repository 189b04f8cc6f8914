"""Every private PyTorch name in one place, each with the versions it holds for.

Versions named are those it was run on. A function here hides one name; when PyTorch moves it, only
this file changes.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

Undo: TypeAlias = Callable[[], None]


def operator_name(function: Any) -> str | None:
    """The dotted name of a dispatcher operator, overload or higher-order operator; else None.

    `torch._ops.OpOverload`, `OpOverloadPacket` and `HigherOrderOperator`, 2.0 and newer.
    """
    ops: Any = torch._ops
    if isinstance(function, ops.OpOverload):
        return f"torch.ops.{function.name().replace('::', '.')}" + (
            ".default" if function._overloadname == "default" else ""
        )
    if isinstance(function, ops.OpOverloadPacket):
        return f"torch.ops.{function._qualified_op_name.replace('::', '.')}"
    if isinstance(function, ops.HigherOrderOperator):
        return f"torch.ops.{function.namespace}.{function.name()}"
    return None


set_grad_enabled: Any = torch._C._set_grad_enabled
"""What Dynamo calls in a graph where the grad mode changes; 2.0 and newer."""


# --- Capture: what torch._dynamo compiles, and the state in which it does ---------------------

OUTPUT_GRAPH = "torch._dynamo.output_graph"
CONVERT_FRAME = "torch._dynamo.convert_frame"


def on_compiler_call(around: Callable[..., Any], installed: Callable[..., Any]) -> Undo:
    """Route Dynamo's calls of the compiler through `around(original, output_graph, gm, inputs)`,
    and what the compiler returned through `installed(output_graph, compiled)`, whose result takes
    its place in the rewritten bytecode.

    `OutputGraph.call_user_compiler` and `OutputGraph.install_global_unsafe`, with the name prefix
    `__compiled_fn`, 2.13. Restarts and state handling happen outside these two.
    """
    cls = importlib.import_module(OUTPUT_GRAPH).OutputGraph
    call, install = cls.call_user_compiler, cls.install_global_unsafe

    @functools.wraps(call)
    def call_user_compiler(self: Any, gm: Any, example_inputs: Any) -> Any:
        return around(call, self, gm, example_inputs)

    @functools.wraps(install)
    def install_global_unsafe(self: Any, name: str, value: Any) -> Any:
        if name.startswith("__compiled_fn"):
            value = installed(self, value)
        return install(self, name, value)

    cls.call_user_compiler = call_user_compiler
    cls.install_global_unsafe = install_global_unsafe

    def undo() -> None:
        cls.call_user_compiler, cls.install_global_unsafe = call, install

    return undo


def on_inference_mode_left(note: Callable[[bool], None]) -> Undo:
    """Call `note` with the caller's inference mode just before Dynamo leaves it to trace.

    `torch._dynamo.convert_frame.maybe_disable_inference_mode`, 2.13: Dynamo compiles in
    `no_grad` instead of inference mode, so that the compiler itself can no longer tell.
    """
    module: Any = importlib.import_module(CONVERT_FRAME)
    original = module.maybe_disable_inference_mode

    @functools.wraps(original)
    def maybe_disable_inference_mode() -> Any:
        note(torch.is_inference_mode_enabled())
        return original()

    module.maybe_disable_inference_mode = maybe_disable_inference_mode

    def undo() -> None:
        module.maybe_disable_inference_mode = original

    return undo


def on_backward_error(note: Callable[[Exception], None]) -> Undo:
    """Call `note` with an exception that leaves the autograd engine, before its caller sees it.

    `torch.autograd._engine_run_backward`, 2.13; `Tensor.backward` and `torch.autograd.grad`
    look it up there.
    """
    autograd: Any = torch.autograd
    original = autograd._engine_run_backward

    @functools.wraps(original)
    def _engine_run_backward(*args: Any, **kwargs: Any) -> Any:
        try:
            return original(*args, **kwargs)
        except Exception as error:
            note(error)
            raise

    autograd._engine_run_backward = _engine_run_backward

    def undo() -> None:
        autograd._engine_run_backward = original

    return undo


def is_control_flow(error: BaseException) -> bool:
    """Whether Dynamo raises this to start over or to skip a frame: nothing failed.

    `torch._dynamo.exc.RestartAnalysis` (with `TensorifyScalarRestartAnalysis`) and `SkipFrame`,
    2.13.
    """
    exc = importlib.import_module("torch._dynamo.exc")
    return isinstance(error, (exc.RestartAnalysis, exc.SkipFrame))


def is_graph_break(error: BaseException) -> bool:
    """Whether Dynamo falls back to eager on this error, unless the user forbade that.

    `torch._dynamo.exc.Unsupported`, 2.13.
    """
    return isinstance(error, importlib.import_module("torch._dynamo.exc").Unsupported)


def is_frontend_error(error: BaseException) -> bool:
    """Whether Dynamo itself raised this: its own exception types, the mark that it leaves on
    exceptions met while tracing, or a traceback that ends in its code.

    `torch._dynamo.exc.TorchDynamoException` and `_torch_dynamo_tracer_output`, 2.13.
    """
    dynamo = sys.modules.get("torch._dynamo.exc")
    if dynamo is None:
        return False
    if isinstance(error, dynamo.TorchDynamoException):
        return True
    if hasattr(error, "_torch_dynamo_tracer_output"):
        return True
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    module = "" if last is None else str(last.tb_frame.f_globals.get("__name__", ""))
    return module.startswith("torch._dynamo.")


def is_fullgraph(output_graph: Any) -> bool:
    """Whether the frame being compiled must become one graph.

    `OutputGraph.root_tx.one_graph`, 2.13.
    """
    return bool(getattr(getattr(output_graph, "root_tx", None), "one_graph", False))


@dataclass(frozen=True)
class CompileArguments:
    """What `torch.compile` was given. `name` is empty if `backend` was a callable."""

    name: str
    function: Any
    mode: str | None
    options: dict[str, Any]
    dynamic: bool | None


def compile_arguments(output_graph: Any) -> CompileArguments:
    """The arguments of the `torch.compile` that led to this graph.

    `OutputGraph.compiler_fn`, unwrapped along `_torchdynamo_orig_backend`;
    `torch._TorchCompileInductorWrapper` and `torch._TorchCompileWrapper`, 2.13.
    """
    function = output_graph.compiler_fn
    while hasattr(function, "_torchdynamo_orig_backend"):
        function = function._torchdynamo_orig_backend
    if isinstance(function, torch._TorchCompileInductorWrapper):
        mode, options = _inductor_mode(dict(function.config), function.dynamic)
        return CompileArguments(function.compiler_name, None, mode, options, function.dynamic)
    if isinstance(function, torch._TorchCompileWrapper):
        compiler = function.compiler_fn
        name = function.compiler_name
        return CompileArguments(
            name if registered_backend(name) is compiler else "",
            compiler,
            function.kwargs.get("mode"),
            dict(function.kwargs.get("options") or {}),
            function.dynamic,
        )
    name = getattr(function, "__name__", "")
    return CompileArguments(
        name if registered_backend(name) is function else "", function, None, {}, None
    )


def _inductor_mode(
    options: dict[str, Any], dynamic: bool | None
) -> tuple[str | None, dict[str, Any]]:
    """`torch.compile` turns a mode into options; find the mode that these are, if there is one."""
    if not options:
        return None, options
    inductor = importlib.import_module("torch._inductor")
    for mode in ("reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"):
        if inductor.list_mode_options(mode, dynamic) == options:
            return mode, {}
    return None, options


def registered_backend(name: str) -> Any:
    """The backend registered under `name` in this process, or None.

    `torch._dynamo.backends.registry._COMPILER_FNS`, 2.13.
    """
    registry = sys.modules.get("torch._dynamo.backends.registry")
    return None if registry is None else registry._COMPILER_FNS.get(name)


CONFIG_MODULES = ("torch._dynamo.config", "torch._inductor.config", "torch._functorch.config")


def config_changes(module: Any) -> dict[str, Any]:
    """The values of a configuration module that differ from their defaults, by dotted key.

    `ConfigModule._config[key].default`, 2.13. Keys that the module itself does not save
    (`_save_config_ignore`) are left out, unless they hold a function.
    """
    ignored = set(getattr(module, "_save_config_ignore", ()))
    current = module.get_config_copy()
    return {
        key: value
        for key, value in current.items()
        if (key not in ignored or callable(value)) and not _same(value, module._config[key].default)
    }


def _same(one: Any, other: Any) -> bool:
    return one is other or (type(one) is type(other) and bool(one == other))


def backward_compilation_seconds() -> float:
    """What compiling backward graphs at their first use has taken in this process.

    `torch._dynamo.utils.compilation_time_metrics`, 2.11 and 2.13.
    """
    times: dict[str, list[float]] = importlib.import_module(
        "torch._dynamo.utils"
    ).compilation_time_metrics
    return sum(times.get("backward._backward_impl", ()))


def compiled_function_class(tensor: Any) -> type | None:
    """The class whose `apply` made `tensor` in a graph that AOTAutograd compiled for training.

    `grad_fn._forward_cls` of a custom `autograd.Function`, with the attribute `_aot_id`, 2.13.
    Views of an output are followed to it.
    """
    node = tensor.grad_fn
    for _ in range(8):
        if node is None:
            return None
        cls = getattr(node, "_forward_cls", None)
        if cls is not None and hasattr(cls, "_aot_id"):
            return cls  # type: ignore[no-any-return]
        following = node.next_functions
        node = following[0][0] if following else None
    return None


def backward_of(traceback: types.TracebackType | None) -> tuple[type, bool] | None:
    """The compiled function (see `compiled_function_class`) in whose backward `traceback` passes,
    and whether that backward was being compiled rather than run; None if in no such backward.

    `CompiledFunction.backward(ctx, ...)` in `torch._functorch._aot_autograd.runtime_wrappers`;
    backward compilers run below `_wrapped_bw_compiler` (`torch._dynamo.backends.common`) or
    `get_or_compile`, 2.13.
    """
    cls: type | None = None
    compiling = False
    while traceback is not None:
        frame = traceback.tb_frame
        name = frame.f_code.co_name
        if name in ("backward", "_backward_impl") and "ctx" in frame.f_locals:
            found = getattr(type(frame.f_locals["ctx"]), "_forward_cls", None)
            if found is not None and hasattr(found, "_aot_id"):
                cls = found
        if cls is not None and name in ("_wrapped_bw_compiler", "get_or_compile"):
            compiling = True
        traceback = traceback.tb_next
    return None if cls is None else (cls, compiling)


def with_fallback_random() -> contextlib.AbstractContextManager[Any]:
    """Inductor draws random numbers as eager does: `torch._inductor.config.fallback_random`."""
    config = importlib.import_module("torch._inductor.config")
    patched: contextlib.AbstractContextManager[Any] = config.patch(fallback_random=True)
    return patched


# --- The judge -------------------------------------------------------------------------------


@contextlib.contextmanager
def compiler_errors() -> Iterator[Callable[[BaseException], bool]]:
    """Inside, tells of an exception whether it came out of a compiler, not out of compiled code.

    Watches `torch._dynamo.output_graph.OutputGraph.call_user_compiler`, 2.0 and newer, and the
    lazy compilation of a backward graph, which happens outside of it.
    """
    cls = importlib.import_module(OUTPUT_GRAPH).OutputGraph
    original = cls.call_user_compiler
    seen: set[int] = set()

    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return original(self, *args, **kwargs)
        except Exception as error:
            seen.update(id(one) for one in _chain(error))
            raise

    def from_compiler(error: BaseException) -> bool:
        return any(id(one) in seen for one in _chain(error))

    cls.call_user_compiler = watched
    try:
        yield from_compiler
    finally:
        cls.call_user_compiler = original


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """`error`, its causes and contexts, and what Dynamo's exceptions wrap."""
    done: set[int] = set()
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in done:
            continue
        done.add(id(one))
        yield one
        waiting += [one.__cause__, one.__context__, getattr(one, "inner_exception", None)]


def neg_view(tensor: torch.Tensor) -> torch.Tensor:
    """A view with the negation bit set, as `x.imag` of a conjugate has it: `torch._neg_view`."""
    return torch._neg_view(tensor)


def is_compiled(function: Any) -> bool:
    """Whether `torch.compile` has been applied to a function, or to a module in either way.

    `_torchdynamo_orig_callable`, `OptimizedModule._orig_mod`, `Module._compiled_call_impl`, 2.13.
    """
    if getattr(function, "_compiled_call_impl", None) is not None:
        return True
    return hasattr(function, "_torchdynamo_orig_callable") or hasattr(function, "_orig_mod")


def undisturbed(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, made invisible to Dynamo: `torch.compiler.disable`, which is untyped."""
    disable: Callable[..., Any] = torch.compiler.disable
    return disable(function)  # type: ignore[no-any-return]


def skip_guard_profiling() -> None:
    """Do without a number for torch's own log, for which each compilation flushes the processor's
    caches: `torch._dynamo.guards.profile_guard_manager`, 2.9 to 2.13, some 50 ms each.
    """
    guards: Any = importlib.import_module("torch._dynamo.guards")
    if hasattr(guards, "profile_guard_manager"):
        guards.profile_guard_manager = lambda *_: 0.0


def probe_instruction_sets() -> None:
    """Find out once, before any fork, which vector instructions Inductor's C++ code may use.

    Each process that compiles would otherwise build and load a test program for each of those that
    the processor has. `torch._inductor.cpu_vec_isa.valid_vec_isa_list` (cached),
    `supported_vec_isa_list` and `x86_isa_checker`, 2.4 to 2.13. The test programs are built side by
    side, by forks of this process.
    """
    module = importlib.import_module("torch._inductor.cpu_vec_isa")
    has = set(getattr(module, "x86_isa_checker", list)())
    children = []
    for isa in getattr(module, "supported_vec_isa_list", ()):
        if not has.issuperset(str(isa).split()):
            continue
        child = os.fork()
        if child == 0:
            status = 1
            try:
                bool(isa)
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    probe = getattr(module, "valid_vec_isa_list", None)
    if probe is not None:
        probe()
