"""From a program and its context to the text of a standalone script.

The text is the test case: the oracle judges exactly this, and this is what the user gets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby

from torchcrux.emit.calls import argument, expression, quoted, rebinds, statement
from torchcrux.emit.inputs import factory, tensors, uses_random
from torchcrux.emit.names import variables
from torchcrux.emit.random import draws_random, writes
from torchcrux.program.context import Backend, Context
from torchcrux.program.ir import Node, Program, Region, Value
from torchcrux.program.spec import Tensor

WIDTH = 88
DATA_FILE = "data.safetensors"


def script(program: Program, context: Context, *, accuracy: bool = False, note: str = "") -> str:
    """The script that compiles `program` under `context` and fails if the compiler does.

    With `accuracy` it compares with eager. `note` is put at the end, as comments.

    Raises emit.inputs.Unmakeable if an input cannot be made by a script.
    """
    names = variables(program)
    function = _function(program, names)
    inputs = [f"{names[node.name]} = {factory(node)}" for node in program.inputs]
    random = any(uses_random(node) for node in program.inputs)
    call = _accuracy_call if accuracy else _plain_call
    body = [*inputs, *call(program, context, names)]
    head = _head(context, function, body)
    state = [*context.config, *context.setup]
    if random:
        body.insert(0, "torch.manual_seed(0)")
    load = _load(program)
    if load:
        body[:0] = load
        head.append("from safetensors.torch import load_file")
    lines = [*_environment(context), *head]
    if state:
        lines += ["", *state]
    imports, source = _split_imports(context.backend.source)
    first = lines.index("import torch") + 1
    lines[first:first] = [line for line in imports if line not in lines]
    if source:
        lines += ["", "", *source]
    lines += ["", "", *function, "", "", *body]
    lines += [f"# {line}".rstrip() for line in note.splitlines()]
    return "\n".join(lines) + "\n"


def probed(program: Program, context: Context, probe: str) -> str:
    """A script that runs `program` once, without a compiler, and calls `probe(name, value)` for
    each input and after each call."""
    names = variables(program)
    inputs = [f"{names[node.name]} = {factory(node)}" for node in program.inputs]
    inputs += [f"{probe}({quoted(node.name)}, {names[node.name]})" for node in program.inputs]
    call = f"f({', '.join(names[node.name] for node in program.inputs)})"
    return "\n".join(
        [
            "import torch",
            "import torch.nn.functional as F",
            "from safetensors.torch import load_file",
            *context.setup,
            *_function(program, names, probe),
            *_load(program),
            "torch.manual_seed(0)",
            *inputs,
            *_around(context, [call]),
            "",
        ]
    )


def _environment(context: Context) -> list[str]:
    """What must be set before torch is imported."""
    if not context.environment:
        return []
    lines = [f"os.environ[{quoted(key)}] = {quoted(value)}" for key, value in context.environment]
    return ["import os", "", *lines, ""]


def _split_imports(source: str) -> tuple[list[str], list[str]]:
    """The one-line imports at the top of a backend's source, and the rest."""
    lines = source.strip().splitlines()
    count = 0
    for line in lines:
        if line and not (line.startswith(("import ", "from ")) and not line.endswith(("(", "\\"))):
            break
        count += 1
    return [line for line in lines[:count] if line], lines[count:]


def _load(program: Program) -> list[str]:
    if not any(node.value is Value.STORED for node in program.inputs):
        return []
    folder = "torch.os.path.dirname(__file__)"
    return [f'data = load_file(torch.os.path.join({folder}, "{DATA_FILE}"))']


def _head(context: Context, function: list[str], body: list[str]) -> list[str]:
    modules = {_module_of(line) for line in context.config} - {""}
    lines = ["import torch", *(f"import {module}" for module in sorted(modules))]
    if any("F." in line for line in (*function, *body)):
        lines.append("import torch.nn.functional as F")
    backend = context.backend
    if backend.module:
        lines.append(f"from {backend.module} import {backend.name}")
    return lines


def _module_of(statement: str) -> str:
    target = statement.partition("=")[0].strip()
    parts = target.split(".")
    return ".".join(parts[: parts.index("config") + 1]) if "config" in parts else ""


def _function(
    program: Program, names: Mapping[str, str], probe: str | None = None
) -> list[str]:
    lines = wrapped("def f(", [names[node.name] for node in program.inputs], "):", "")
    statements = [
        (node.regions, text) for node in program.calls for text in _call(node, names, probe)
    ]
    returned = [names[name] for name in program.outputs]
    last = program.calls[-1] if program.calls else None
    if last and program.outputs == (last.name,) and not probe and not statement(last, names):
        statements[-1] = (last.regions, f"return {expression(last, names)}")
        returned = []
    for regions, group in groupby(statements, key=lambda pair: _scopes(pair[0])):
        indent = "    "
        if regions:
            lines.append(f"    with {', '.join(regions)}:")
            indent = "        "
        lines += [indent + text for _, text in group]
    if returned:
        lines += wrapped("    return ", returned, "", "    ")
    elif len(lines) == 1:
        lines.append("    pass")
    return lines


def _call(node: Node, names: Mapping[str, str], probe: str | None) -> list[str]:
    text = statement(node, names) or f"{names[node.name]} = {expression(node, names)}"
    if probe is None or node.target == "operator.setitem":
        return [text]
    return [text, f"{probe}({quoted(node.name)}, {names[node.name]})"]


def _scopes(regions: tuple[Region, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(region.text for region in regions))


def compiler(context: Context) -> list[str]:
    """The lines that choose the backend and end in ``torch.compile(f, ...)``."""
    keywords = ["backend=backend"]
    if context.mode is not None:
        keywords.append(f"mode={quoted(context.mode)}")
    if context.options:
        keywords.append(f"options={argument(dict(context.options), {})}")
    if context.dynamic is not None:
        keywords.append(f"dynamic={context.dynamic}")
    if context.fullgraph:
        keywords.append("fullgraph=True")
    return [f"backend = {_backend(context.backend)}", f"torch.compile(f, {', '.join(keywords)})"]


def _backend(backend: Backend) -> str:
    variable = 'torch.os.environ.get("TORCH_COMPILE_BACKEND"'
    if backend.module or backend.source:
        return f"{variable}) or {backend.name}"
    return f"{variable}, {quoted(backend.name)})"


def _plain_call(program: Program, context: Context, names: Mapping[str, str]) -> list[str]:
    arguments = ", ".join(names[node.name] for node in program.inputs)
    backend, compiled = compiler(context)
    if not context.backward:
        return [backend, *_around(context, [f"{compiled}({arguments})"])]
    return [backend, *_around(context, [f"out = {compiled}({arguments})"]), _loss(program)]


def _loss(program: Program) -> str:
    differentiable = [
        i
        for i, name in enumerate(program.outputs)
        if any(spec.is_floating and spec.requires_grad for spec in tensors(program.by_name[name].spec))
    ]
    if len(program.outputs) == 1:
        return "out.sum().backward()"
    return f"({' + '.join(f'out[{i}].sum()' for i in differentiable)}).backward()"


def _accuracy_call(program: Program, context: Context, names: Mapping[str, str]) -> list[str]:
    mutates = any(writes(node) for node in program.calls)
    arguments = ", ".join(
        f"{names[node.name]}.clone()"
        if mutates and isinstance(node.spec, Tensor)
        else names[node.name]
        for node in program.inputs
    )
    seed = ["torch.manual_seed(0)"] if any(draws_random(node) for node in program.calls) else []
    backend, compiled = compiler(context)
    call = _around(
        context,
        [*seed, f"expected = f({arguments})", *seed, f"actual = {compiled}({arguments})"],
    )
    return [backend, *call, "torch.testing.assert_close(actual, expected, equal_nan=True)"]


def _around(context: Context, lines: Iterable[str]) -> list[str]:
    scopes = list(context.around)
    if context.inference:
        scopes.insert(0, "torch.inference_mode()")
    elif not context.grad:
        scopes.insert(0, "torch.no_grad()")
    if not scopes:
        return list(lines)
    return [f"with {', '.join(scopes)}:", *(f"    {line}" for line in lines)]


def wrapped(before: str, items: list[str], after: str, indent: str) -> list[str]:
    """`before item, item after` in one line, or one item a line where that is too long."""
    line = before + ", ".join(items) + after
    if len(line) <= WIDTH or not items:
        return [line]
    opening, closing = ("", "") if before.endswith("(") else ("(", ")")
    return [
        before + opening,
        *(f"{indent}    {item}," for item in items),
        indent + closing + after if not before.endswith("(") else indent + after,
    ]
