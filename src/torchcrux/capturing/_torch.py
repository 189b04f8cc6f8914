"""The private PyTorch names behind what is captured: compilations and backwards as they happen,
operators registered from Python, and `torch.func`."""

from __future__ import annotations

import functools
import importlib
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

from torchcrux.torch_modules import CONVERT_FRAME, OUTPUT_GRAPH

Undo: TypeAlias = Callable[[], None]


@dataclass(frozen=True, slots=True)
class CustomOperator:
    """An operator registered from Python: the object that its name is bound to, and the module of
    the function it was made of."""

    handle: Any
    home: str


def is_inside_a_transform(tensor: Any) -> bool:
    """Whether `tensor` belongs to a level of `torch.func` and has no data of its own.

    `torch._C._functorch.is_functorch_wrapped_tensor`, 2.0 and newer.
    """
    functorch: Any = importlib.import_module("torch._C._functorch")
    return bool(functorch.is_functorch_wrapped_tensor(tensor))


def is_wrapper(tensor: Any) -> bool:
    """Whether `tensor` is of a subclass that holds other tensors, as a compiler can take it apart.

    `torch.utils._python_dispatch.is_traceable_wrapper_subclass`, 2.1 and newer.
    """
    module: Any = importlib.import_module("torch.utils._python_dispatch")
    return bool(module.is_traceable_wrapper_subclass(tensor))


def wrapper_like(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor of the class, size, strides, dtype and device of `tensor`, which holds nothing yet.

    `torch.Tensor._make_wrapper_subclass`, 1.11 and newer.
    """
    make: Any = torch.Tensor._make_wrapper_subclass
    made: torch.Tensor = make(
        type(tensor),
        tensor.size(),
        strides=tensor.stride(),
        storage_offset=tensor.storage_offset(),
        dtype=tensor.dtype,
        layout=tensor.layout,
        device=tensor.device,
    )
    return made


def custom_operator(name: str) -> CustomOperator | None:
    """The operator ``namespace::name`` if `torch.library.custom_op` or `triton_op` made it.

    `torch._library.custom_ops.OPDEFS`, 2.4 and newer.
    """
    known = getattr(importlib.import_module("torch._library.custom_ops"), "OPDEFS", {})
    found = known.get(name)
    if found is None:
        return None
    return CustomOperator(found, getattr(getattr(found, "_init_fn", None), "__module__", "") or "")


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


def undisturbed(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, made invisible to Dynamo: `torch.compiler.disable`, which is untyped."""
    disable: Callable[..., Any] = torch.compiler.disable
    return disable(function)  # type: ignore[no-any-return]
