"""What surrounds a graph when its compiler is called, as plain data.

The state is read where Dynamo calls the compiler: there it has put back the grad mode and the
autocast state of the caller. Inference mode is the exception (Dynamo leaves it to trace), so the
caller hands it in.
"""

from __future__ import annotations

import ast
import re
import sys
from dataclasses import dataclass
from typing import Any

import torch

from torchcrux import _torch, global_flags
from torchcrux.capturing.backend import backend_of, installed
from torchcrux.capturing.expression import Expressions, Inexpressible
from torchcrux.capturing.rules import changed_rules
from torchcrux.emit.calls import quoted
from torchcrux.program.context import Context
from torchcrux.torch_modules import DYNAMO_CONFIG, INDUCTOR_CONFIG

# Where to write, how much to tell and what to reuse: none of it decides what is compiled.
_BYSTANDERS = re.compile(
    r"(^|[._])(caches?|logs?|logpath|dirs?|paths?|verbose|profil\w*|cprofile|workers?|repro)([._]|$)"
    r"|^trace\.|^compile_threads$|^suppress_errors$|^debug(_dir_root)?$"
)
_BY_DYNAMIC = {"assume_static_by_default", "automatic_dynamic_shapes"}


@dataclass(frozen=True)
class Surroundings:
    """`notes` say what of the context could not be written down, in sentences for the user."""

    context: Context
    notes: tuple[str, ...]


def surroundings(output_graph: Any, *, inference: bool) -> Surroundings:
    """The context of the compiler call that is about to happen for `output_graph`."""
    arguments = _torch.compile_arguments(output_graph)
    notes: list[str] = []
    backend, note = backend_of(arguments.name, arguments.function)
    if note:
        notes.append(note)
    options, config = [], _config(arguments, notes)
    for key, value in arguments.options.items():
        if is_literal(value):
            options.append((key, value))
        elif arguments.name == "inductor":  # whose options are configuration values for one call
            config += _stated(INDUCTOR_CONFIG, key.replace("-", "_"), value, notes)
        else:
            notes.append(f"The option {key} has a value that cannot be written down: {value!r}.")
    context = Context(
        backend=backend,
        mode=arguments.mode,
        options=tuple(options),
        dynamic=arguments.dynamic,
        fullgraph=_torch.is_fullgraph(output_graph),
        grad=torch.is_grad_enabled() and not inference,
        inference=inference,
        around=_autocast(),
        setup=_setup(),
        config=(*changed_rules(notes), *config),
    )
    return Surroundings(context, tuple(notes))


def _autocast() -> tuple[str, ...]:
    """The context managers that bring back the autocast state, one a device type."""
    types = ["cpu"]
    accelerator = torch.accelerator.current_accelerator()
    if accelerator is not None:
        types.append(accelerator.type)
    texts = []
    for kind in types:
        if torch.is_autocast_enabled(kind):
            text = f'torch.autocast("{kind}", dtype={torch.get_autocast_dtype(kind)}'
            if not torch.is_autocast_cache_enabled():
                text += ", cache_enabled=False"
            texts.append(text + ")")
    return tuple(texts)


def _setup() -> tuple[str, ...]:
    """Statements that bring back the global state that has no context manager."""
    lines = []
    if torch.get_default_dtype() is not torch.float32:
        lines.append(f"torch.set_default_dtype({torch.get_default_dtype()})")
    device = torch.get_default_device()
    if device.type != "cpu":
        name = device.type if not device.index else f"{device.type}:{device.index}"
        lines.append(f'torch.set_default_device("{name}")')
    if torch.are_deterministic_algorithms_enabled():
        warn = torch.is_deterministic_algorithms_warn_only_enabled()
        lines.append(f"torch.use_deterministic_algorithms(True{', warn_only=True' * warn})")
    return (*lines, *global_flags.statements())


def _config(arguments: _torch.CompileArguments, notes: list[str]) -> list[str]:
    """Statements for the configuration values that differ from their defaults."""
    lines = []
    for name in _torch.CONFIG_MODULES:
        module = sys.modules.get(name)
        if module is None:
            continue
        for key, value in sorted(_torch.config_changes(module).items()):
            if _BYSTANDERS.search(key):
                continue
            if name == DYNAMO_CONFIG and key in _BY_DYNAMIC and arguments.dynamic is not None:
                continue
            if name == INDUCTOR_CONFIG and key in arguments.options:
                continue
            lines += _stated(name, key, value, notes)
    return lines


def _stated(module: str, key: str, value: Any, notes: list[str]) -> list[str]:
    """A statement that sets a configuration value, with what it needs; none where that cannot be
    written down."""
    if is_literal(value):
        return [f"{module}.{key} = {quoted(value) if isinstance(value, str) else repr(value)}"]
    expressions = Expressions(installed)
    try:
        text = expressions.of(value)
        definitions = expressions.text()
        notes += filter(None, [expressions.located()])
        return [f"{definitions}\n\n{module}.{key} = {text}"]
    except (Inexpressible, OSError, SyntaxError) as reason:
        notes.append(f"{module}.{key} cannot be written down: {reason}.")
        return []


def is_literal(value: Any) -> bool:
    """Whether `repr(value)` is a Python literal that evaluates to `value`."""
    try:
        return bool(ast.literal_eval(repr(value)) == value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return False
