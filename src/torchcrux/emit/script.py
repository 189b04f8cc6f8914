"""From a program and its context to the text of a standalone script.

The text is the test case: the oracle judges exactly this, and this is what the user gets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import chain

from torchcrux.emit.at_once import handed_over
from torchcrux.emit.bodies import surroundings
from torchcrux.emit.calling import (
    arguments_of,
    changed_leaves,
    compared_call,
    compiler,
    enclosed,
    marked,
    plain_call,
    repeated,
)
from torchcrux.emit.calls import quoted
from torchcrux.emit.costs import measured
from torchcrux.emit.function import Around, function
from torchcrux.emit.imports import ordered, spelled_out
from torchcrux.emit.inlining import inlined
from torchcrux.emit.inputs import factory, uses_random
from torchcrux.emit.layout import folded
from torchcrux.emit.memory import bases, placed
from torchcrux.emit.modules import as_module, inside, named, owned
from torchcrux.emit.names import variables
from torchcrux.emit.registered import by_name, names_of
from torchcrux.oracle.cost import Bound
from torchcrux.oracle.tolerance import Tolerance
from torchcrux.program.context import Context
from torchcrux.program.ir import Program, Value, defined
from torchcrux.program.source import is_definition, is_import, joined, operators_in, statements
from torchcrux.program.spec import tensors

_WITH_TORCH = ("torch._inductor.config", "torch._dynamo.config")
"""Modules that are there as soon as their name is used, after ``import torch``."""

DATA_FILE = "data.safetensors"


def script(
    program: Program,
    context: Context,
    *,
    accuracy: bool = False,
    attribute: str = "",
    tolerance: Tolerance | None = None,
    note: str = "",
    limit: float | None = None,
    times: int = 1,
    bound: Bound | None = None,
) -> str:
    """The script that compiles `program` under `context` and fails if the compiler does.

    With `accuracy` it compares with eager: values, or an `attribute` of `oracle.tolerance`. `note`
    is put at the end, as comments. With `limit` it ends with a traceback after so many seconds. It
    compiles and runs anew `times` times. With `bound` it fails if compiling takes more than that.

    Raises emit.inputs.Unmakeable if an input cannot be made by a script.
    """
    held = owned(program, context)
    names = named(program, held)
    around = surroundings()
    text = function(program, inside(program, names, held), around)
    inputs, inner = _made(program, context, names)
    if held:
        text, inputs = as_module(text, inputs, program, names, held, _sources(context))
        names = {**names, **{node.name: f"f.{names[node.name]}" for node in held}}
    random = any(uses_random(node) for node in program.inputs)
    if accuracy:
        backend, *calls = compared_call(program, context, names, attribute, tolerance)
    else:
        backend, *calls = plain_call(program, context, names)
    once = context.calls == context.compilations == times == 1
    once = once and not (context.marked or context.earlier or context.updated)
    setup, defaults = _split_defaults(context)
    if once and not (accuracy or context.weighted or inner or bound or defaults):
        passed = [names[node.name] for node in program.inputs if node not in held]
        inputs, calls = handed_over(passed, inputs, calls)
    calls = _with_inner(calls, inner)
    if context.synchronized:
        calls.append("torch.accelerator.synchronize()")
    if bound is not None:
        on_device = any(spec.device != "cpu" for n in program.inputs for spec in tensors(n.spec))
        plain = not (context.backward or context.mode or context.options)
        module, calls = measured(
            calls, compiler(context)[1], bound, at_once=plain, on_device=on_device
        )
    inputs, calls = repeated(inputs, calls, program, context, names, times)
    if limit is not None:
        calls.insert(0, f"faulthandler.dump_traceback_later({limit:g}, exit=True)")
    body = [*inputs, *defaults, backend, *calls]
    definitions = inlined(around.definitions)
    needed, registered = registrations(program, context)
    code = spelled_out([*definitions, *text])
    if registered:
        code = by_name(code, names_of(registered), {*names.values(), *around.taken, "f"})
    definitions, text = code[: len(definitions)], code[len(definitions) :]
    imports = _imports(context, around, [*code, *body])
    if limit is not None:
        imports.append("import faulthandler")
    if bound is not None and module:
        imports.append(module)
    state: list[str] = []
    for setting in context.config:
        more, statements = _split_imports(setting)
        imports += more
        if len(statements) == 1:
            state += statements
        else:
            empty = [""] * (2 if is_definition(statements[0]) else bool(state))
            state += [*empty, *statements, "", ""]
    state += setup
    if random or context.weighted:
        body.insert(0, "torch.manual_seed(0)")
    load = _load(program)
    if load:
        body[:0] = load
        imports.append("from safetensors.torch import load_file")
    more, source = _split_imports(context.backend.source)
    more = [*more, *needed]
    if registered and operators_in(context.config):
        state[:0] = [*registered, "", ""]
    elif registered:
        source = [*registered, *([""] * 2 if source else []), *source]
    first = _environment(context)
    lines = [*first, *(line for line in ordered([*imports, *more]) if line not in first[:1])]
    if state:
        lines += ["", *state]
    if source:
        lines += [*[""] * (1 + is_definition(source[0])), *source]
    lines += [*folded(definitions), "", "", *folded(text), "", "", *folded(body)]
    lines += [f"# {line}".rstrip() for line in note.splitlines()]
    whole = "\n".join(lines)
    while "\n\n\n\n" in whole:
        whole = whole.replace("\n\n\n\n", "\n\n\n")
    return whole + "\n"


def probed(program: Program, context: Context, probe: str) -> str:
    """A script that runs `program` once, without a compiler, and calls `probe(name, value)` for
    each input and after each call."""
    names = variables(program)
    inputs, inner = _made(program, context, names)
    setup, defaults = _split_defaults(context)
    calls = [f"{probe}({quoted(node.name)}, {names[node.name]})" for node in program.inputs]
    calls.append(f"f({arguments_of(program, names, changed_leaves(program, context))})")
    around = surroundings()
    text = function(program, names, around, probe)
    return "\n".join(
        [
            "import math",
            "import operator",
            "import torch",
            "import torch.nn.functional as F",
            "from safetensors.torch import load_file",
            *around.imports,
            *chain(*registrations(program, context)),
            *setup,
            *around.definitions,
            *text,
            *_load(program),
            "torch.manual_seed(0)",
            *inputs,
            *defaults,
            *_with_inner(enclosed(context, calls), inner),
            "",
        ]
    )


def _made(
    program: Program, context: Context, names: Mapping[str, str]
) -> tuple[list[str], list[str]]:
    """The lines that make the inputs; apart, those that stand in inference mode."""
    outer, expressions = placed(program, names)
    inner: list[str] = []
    first = bases(program)
    for node in sorted(program.inputs, key=lambda node: node.name not in first):
        line = f"{names[node.name]} = {expressions.get(node.name) or factory(node)}"
        if context.inference and any(spec.inference for spec in tensors(node.spec)):
            inner.append(line + ".clone()" * (node.value is Value.STORED))
        else:
            outer.append(line)
    marks = marked(program, names) if context.marked else []
    return [*outer, *marks], inner


def _with_inner(lines: list[str], inner: list[str]) -> list[str]:
    """`lines` with `inner` at the beginning of their scope of inference mode."""
    if not inner:
        return lines
    at = next(i for i, line in enumerate(lines) if line.startswith("with torch.inference_mode("))
    return [*lines[: at + 1], *(f"    {line}" for line in inner), *lines[at + 1 :]]


def _split_defaults(context: Context) -> tuple[list[str], list[str]]:
    """The statements that set global state: those for the top of a script; and defaults of what
    factories make, which are not meant for the inputs and stand after them."""
    after = [line for line in context.setup if line.startswith("torch.set_default_")]
    return [line for line in context.setup if line not in after], after


def _environment(context: Context) -> list[str]:
    """What must be set before torch is imported."""
    if not context.environment:
        return []
    lines = [f"os.environ[{quoted(key)}] = {quoted(value)}" for key, value in context.environment]
    return ["import os", "", *lines, ""]


def _sources(context: Context) -> str:
    """All text of the user's that comes along."""
    operators = [source for _, source in context.operators]
    return "\n".join([context.backend.source, *context.config, *operators])


def _split_imports(source: str) -> tuple[list[str], list[str]]:
    """The one-line imports at the top of a backend's source, and the rest."""
    lines = source.strip().splitlines()
    count = 0
    for line in lines:
        if line and not (line.startswith(("import ", "from ")) and not line.endswith(("(", "\\"))):
            break
        count += 1
    return [line for line in lines[:count] if line], lines[count:]


def registrations(program: Program, context: Context) -> tuple[list[str], list[str]]:
    """What must have run before the operators, and the classes of tensors, of `program` are there:
    imports, and the rest."""
    if not context.operators:
        return [], []
    used = defined(program) | operators_in([context.backend.source, *context.config])
    parts = [
        statement
        for name, source in context.operators
        if any(target == name or target.startswith(name + ".") for target in used)
        for statement in statements(source)
    ]
    rest = joined(part for part in parts if not is_import(part))
    return [part for part in parts if is_import(part)], rest.splitlines()


def _load(program: Program) -> list[str]:
    if not any(node.value is Value.STORED for node in program.inputs):
        return []
    folder = "torch.os.path.dirname(__file__)"
    return [f'data = load_file(torch.os.path.join({folder}, "{DATA_FILE}"))']


def _imports(context: Context, around: Around, text: list[str]) -> list[str]:
    whole = "\n".join(text)
    used = {name for name in ("F", "copy", "math", "operator") if _uses(whole, name)}
    modules = {_module_of(setting.splitlines()[-1]) for setting in context.config} - {""}
    found = ["import torch", *around.imports, *(f"import {module}" for module in modules)]
    found += [f"import {module}" for module in ("copy", "math", "operator") if module in used]
    if "F" in used:
        found.append("import torch.nn.functional as F")
    if context.backend.module:
        found.append(f"from {context.backend.module} import {context.backend.name}")
    return found


def _uses(text: str, module: str) -> bool:
    return f"{module}." in text and re.search(rf"(?<![\w.]){module}\.", text) is not None


def _module_of(statement: str) -> str:
    target = statement.partition("=")[0].strip()
    parts = target.split(".")
    module = ".".join(parts[: parts.index("config") + 1]) if "config" in parts else ""
    return "" if module in _WITH_TORCH else module
