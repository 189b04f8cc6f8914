"""The private PyTorch names, each with the versions it holds for; those that only one package uses
are in a file of the same name there.

Versions named are those it was run on. A function here hides one name; when PyTorch moves it, only
this file changes.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from torchcrux.torch_modules import (
    DYNAMO_CONFIG,
    FUNCTORCH_CONFIG,
    INDUCTOR_CONFIG,
    OUTPUT_GRAPH,
)


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


def aot_autograd_arguments(backend: Any) -> dict[str, Any] | None:
    """What ``aot_autograd`` was given, if `backend` is what it has made; else None.

    `torch._dynamo.backends.common.AotAutograd` with `kwargs`, to which its first call adds
    defaults, and a wrapper around `bw_compiler`; 2.9 to 2.13.
    """
    common = sys.modules.get("torch._dynamo.backends.common")
    if type(backend) is not getattr(common, "AotAutograd", None):
        return None
    found = dict(vars(backend).get("kwargs", {}))
    forward, backward = found.get("fw_compiler"), found.get("bw_compiler")
    if getattr(backward, "__name__", "") == "_wrapped_bw_compiler":
        held = [cell.cell_contents for cell in getattr(backward, "__closure__", None) or ()]
        found["bw_compiler"] = next(filter(callable, held), backward)
    for name in ("bw_compiler", "inference_compiler"):
        if name in found and found[name] is forward:
            del found[name]  # as it is without
    return found


_CORE = "torch._decomp.core_aten_decompositions()"
MOST_MISSING = 20
"""Decompositions that a table may lack and still be written as all but these."""


def is_decomposition_table(value: Any) -> bool:
    """Whether it is what `core_aten_decompositions` returns: a dictionary that is filled when it
    is looked at.

    `torch.export.decomp_utils.CustomDecompTable`, 2.6 and newer.
    """
    utils = sys.modules.get("torch.export.decomp_utils")
    return type(value) is getattr(utils, "CustomDecompTable", None)


def decomposed(table: dict[Any, Any]) -> tuple[list[str], dict[Any, Any]]:
    """The expressions for those entries of a table of decompositions that are PyTorch's own, and
    the other entries.

    `torch._decomp`: `get_decompositions`, `core_aten_decompositions`; 2.6 and newer.
    """
    ops: Any = torch._ops
    if not any(isinstance(op, ops.OpOverload) for op in table):
        return [], table
    decomp: Any = importlib.import_module("torch._decomp")
    core = dict(decomp.core_aten_decompositions().items())
    own = {op for op, one in core.items() if op in table and _is_alike(table[op], one)}
    missing = [str(operator_name(op)) for op in core if op not in own]
    if len(missing) <= MOST_MISSING:
        text = _CORE
        if missing:
            kept = f"if op not in [{', '.join(missing)}]"
            text = f"{{op: one for op, one in {_CORE}.items() {kept}}}"
        return [text], {op: one for op, one in table.items() if op not in own}
    registry = decomp.global_decomposition_table["post_autograd"]
    known = {op for op, one in table.items() if registry.get(op, table) is one}
    texts = []
    if known:
        listed = _listed([op for op in table if op in known], registry)
        texts.append(f"torch._decomp.get_decompositions([{listed}])")
    if own - known:  # those that it makes anew for each table
        listed = ", ".join(str(operator_name(op)) for op in table if op in own - known)
        texts.append(f"{{op: {_CORE}[op] for op in [{listed}]}}")
    return texts, {op: one for op, one in table.items() if op not in own | known}


def _listed(overloads: list[Any], registry: Any) -> str:
    """The names of `overloads`, or of the operators all of whose overloads in `registry` are
    there."""
    packets: dict[Any, list[Any]] = {}
    for op in overloads:
        packets.setdefault(op.overloadpacket, []).append(op)
    found: list[Any] = []
    for packet, some in packets.items():
        whole = {op for op in registry if getattr(op, "overloadpacket", op) == packet}
        found += [packet] if whole <= {*some} else some
    return ", ".join(str(operator_name(op)) for op in found)


def _is_alike(one: Any, other: Any) -> bool:
    """Whether both are one function; those that PyTorch makes for an operator are made anew."""
    codes = [getattr(getattr(func, "func", func), "__code__", None) for func in (one, other)]
    return one is other or (codes[0] is not None and codes[0] is codes[1])


set_grad_enabled: Any = torch._C._set_grad_enabled
"""What Dynamo calls in a graph where the grad mode changes; 2.0 and newer."""


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


CONFIG_MODULES = (DYNAMO_CONFIG, INDUCTOR_CONFIG, FUNCTORCH_CONFIG)


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


def settable_flags() -> contextlib.AbstractContextManager[Any]:
    """Inside, the switches of `torch.backends` can be set, also after
    `torch.backends.disable_global_flags`, which tests of PyTorch call.
    `torch.backends.__allow_nonbracketed_mutation`, 2.11 and 2.13."""
    allowed = getattr(torch.backends, "__allow_nonbracketed_mutation", None)
    inside: contextlib.AbstractContextManager[Any] = (allowed or contextlib.nullcontext)()
    return inside


def rule_tables() -> list[dict[Any, Any]]:
    """What operators come down to, by operator: the tables to which scripts add rules of their own.

    `torch._inductor.decomposition.decompositions`, `torch._inductor.lowering.lowerings` and
    `torch._decomp.global_decomposition_table`, 2.0 and newer. Those that nobody has imported yet
    are not among them.
    """
    decomposition: Any = sys.modules.get("torch._inductor.decomposition")
    lowering: Any = sys.modules.get("torch._inductor.lowering")
    every: Any = sys.modules.get("torch._decomp")
    found = [getattr(decomposition, "decompositions", None), getattr(lowering, "lowerings", None)]
    tables = getattr(every, "global_decomposition_table", {})
    found += [tables.get(kind) for kind in ("post_autograd", "pre_autograd")]
    return [table for table in found if isinstance(table, dict)]


def forget_rules() -> None:
    """Have Inductor look into its table of decompositions again.

    `torch._inductor.decomposition.fast_random_decomps`, 2.0 and newer, which is cached.
    """
    decomposition: Any = sys.modules.get("torch._inductor.decomposition")
    clear = getattr(getattr(decomposition, "fast_random_decomps", None), "cache_clear", None)
    if clear is not None:
        clear()
