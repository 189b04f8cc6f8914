"""From a program and its context to the text of a standalone script.

The text is the test case: the oracle judges exactly this, and this is what the user gets.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

from torchcrux.emit.bodies import surroundings
from torchcrux.emit.calls import argument, quoted
from torchcrux.emit.costs import measured
from torchcrux.emit.flow import written
from torchcrux.emit.function import Around, function
from torchcrux.emit.gradients import backward, gradients, several, weights
from torchcrux.emit.imports import ordered
from torchcrux.emit.inputs import factory, tensors, uses_random
from torchcrux.emit.layout import WIDTH, folded
from torchcrux.emit.names import variables
from torchcrux.emit.random import draws_random
from torchcrux.oracle.cost import Bound
from torchcrux.oracle.tolerance import Tolerance
from torchcrux.program.context import Backend, Context
from torchcrux.program.ir import Node, Program, Value, targets
from torchcrux.program.spec import Sequence, Tensor

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
    names = variables(program)
    around = surroundings()
    text = folded(function(program, names, around))
    inputs, inner = _made(program, context, names)
    random = any(uses_random(node) for node in program.inputs)
    if accuracy:
        backend, *calls = _accuracy_call(program, context, names, attribute)
        calls[-1] = _with_tolerance(calls[-1], tolerance)
    else:
        backend, *calls = _plain_call(program, context, names)
    calls = _with_inner(calls, inner)
    if bound is not None:
        on_device = any(spec.device != "cpu" for n in program.inputs for spec in tensors(n.spec))
        module, calls = measured(calls, compiler(context)[1], bound, on_device=on_device)
    if times > 1:
        again = ["torch.compiler.reset()", *calls]
        calls = [f"for _ in range({times}):", *(f"    {line}" for line in again)]
    if limit is not None:
        calls.insert(0, f"faulthandler.dump_traceback_later({limit:g}, exit=True)")
    body = [*inputs, backend, *calls]
    imports = _imports(context, around, [*around.definitions, *text, *body])
    if limit is not None:
        imports.append("import faulthandler")
    if bound is not None and module:
        imports.append(module)
    state: list[str] = []
    for setting in context.config:
        more, statements = _split_imports(setting)
        imports += more
        state += statements if len(statements) == 1 else ["", *statements, ""]
    state += context.setup
    if random or context.weighted:
        body.insert(0, "torch.manual_seed(0)")
    load = _load(program)
    if load:
        body[:0] = load
        imports.append("from safetensors.torch import load_file")
    more, source = _split_imports(context.backend.source)
    for registration in _registrations(program, context):
        needed, statements = _split_imports(registration)
        more, source = [*more, *needed], [*statements, *([""] * 2 if source else []), *source]
    first = _environment(context)
    lines = [*first, *(line for line in ordered([*imports, *more]) if line not in first[:1])]
    if state:
        lines += ["", *state]
    if source:
        lines += ["", "", *source]
    lines += [*folded(around.definitions), "", "", *text, "", "", *folded(body)]
    lines += [f"# {line}".rstrip() for line in note.splitlines()]
    return re.sub(r"\n{4,}", "\n\n\n", "\n".join(lines)) + "\n"


def probed(program: Program, context: Context, probe: str) -> str:
    """A script that runs `program` once, without a compiler, and calls `probe(name, value)` for
    each input and after each call."""
    names = variables(program)
    inputs, inner = _made(program, context, names)
    calls = [f"{probe}({quoted(node.name)}, {names[node.name]})" for node in program.inputs]
    calls.append(f"f({_arguments(program, names, _changed_leaves(program, context))})")
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
            *_registrations(program, context),
            *context.setup,
            *around.definitions,
            *text,
            *_load(program),
            "torch.manual_seed(0)",
            *inputs,
            *_with_inner(_around(context, calls), inner),
            "",
        ]
    )


def _made(
    program: Program, context: Context, names: Mapping[str, str]
) -> tuple[list[str], list[str]]:
    """The lines that make the inputs; apart, those that stand in inference mode."""
    outer: list[str] = []
    inner: list[str] = []
    for node in program.inputs:
        line = f"{names[node.name]} = {factory(node)}"
        if context.inference and any(spec.inference for spec in tensors(node.spec)):
            inner.append(line + ".clone()" * (node.value is Value.STORED))
        else:
            outer.append(line)
    return outer, inner


def _with_inner(lines: list[str], inner: list[str]) -> list[str]:
    """`lines` with `inner` at the beginning of their scope of inference mode."""
    if not inner:
        return lines
    at = next(i for i, line in enumerate(lines) if line.startswith("with torch.inference_mode("))
    return [*lines[: at + 1], *(f"    {line}" for line in inner), *lines[at + 1 :]]


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


def _registrations(program: Program, context: Context) -> list[str]:
    """What must have run before the operators of `program` are there, each text once."""
    if not context.operators:
        return []
    used = set(targets(program))
    found = [
        source
        for name, source in context.operators
        if any(target == name or target.startswith(name + ".") for target in used)
    ]
    return list(dict.fromkeys(found))


def _load(program: Program) -> list[str]:
    if not any(node.value is Value.STORED for node in program.inputs):
        return []
    folder = "torch.os.path.dirname(__file__)"
    return [f'data = load_file(torch.os.path.join({folder}, "{DATA_FILE}"))']


def _imports(context: Context, around: Around, text: list[str]) -> list[str]:
    whole = "\n".join(text)
    used = {name for name in ("F", "math", "operator") if _uses(whole, name)}
    modules = {_module_of(setting.splitlines()[-1]) for setting in context.config} - {""}
    found = ["import torch", *around.imports, *(f"import {module}" for module in modules)]
    found += [f"import {module}" for module in ("math", "operator") if module in used]
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
    return ".".join(parts[: parts.index("config") + 1]) if "config" in parts else ""


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
    arguments = _arguments(program, names, _changed_leaves(program, context))
    backend, compiled = compiler(context)
    if context.writes:
        written_to = [f"{out}.mul_(1)" for out in _floating(program)]
        return [backend, *_around(context, [f"out = {compiled}({arguments})", *written_to])]
    if not context.backward:
        return [backend, *_around(context, [f"{compiled}({arguments})"])]
    call = _around(context, [f"out = {compiled}({arguments})"])
    return [backend, *weights(program, context), *call, backward(program, context, "out")]


def _floating(program: Program) -> list[str]:
    """The outputs of floating dtype, given that ``out`` is what the function has returned."""
    specs = [program.by_name[name].spec for name in program.outputs]
    texts = ["out"] if len(specs) == 1 else [f"out[{i}]" for i in range(len(specs))]
    pairs = zip(texts, specs, strict=True)
    return [text for text, spec in pairs if isinstance(spec, Tensor) and spec.is_floating]


def _compared(program: Program, names: Mapping[str, str], attribute: str) -> str:
    """The call that compares ``actual`` with ``expected``."""
    match attribute:
        case "":
            return "torch.testing.assert_close(actual, expected, equal_nan=True)"
        case "stride":
            return "torch.testing.assert_close(actual, expected, equal_nan=True, check_stride=True)"
        case "requires_grad":
            told = "{}.requires_grad"
        case _:
            inputs = [names[node.name] for node in program.inputs if isinstance(node.spec, Tensor)]
            shared = [f"torch._C._is_alias_of({{}}, {name})" for name in inputs]
            told = ", ".join(shared)
    several = len(program.outputs) > 1
    texts = []
    for result in ("actual", "expected"):
        items = [
            told.format(*[f"{result}[{i}]" if several else result] * told.count("{}"))
            for i in range(len(program.outputs))
        ]
        text = ", ".join(items)
        texts.append(f"[{text}]" if told.count("{}") > 1 or several else text)
    return f"torch.testing.assert_close({', '.join(texts)})"


def _with_tolerance(compare: str, tolerance: Tolerance | None) -> str:
    if tolerance is None:
        return compare
    return f"{compare[:-1]}, rtol={tolerance.rtol:g}, atol={tolerance.atol:g})"


def _accuracy_call(
    program: Program, context: Context, names: Mapping[str, str], attribute: str = ""
) -> list[str]:
    """Compare what is returned, and what is left of inputs that are written to; or gradients."""
    backend, compiled = compiler(context)
    compare = _compared(program, names, attribute)
    seed = ["torch.manual_seed(0)"] if any(draws_random(node) for node in program.calls) else []
    if context.backward:
        return [backend, *_gradient_calls(program, context, names, compiled, seed), compare]
    changed = written(program) if not attribute else frozenset()
    arguments = _arguments(program, names, changed)
    if not changed:
        lines = [*seed, f"expected = f({arguments})", *seed, f"actual = {compiled}({arguments})"]
    else:
        inputs = f"inputs = [{arguments}]"
        lines = [inputs, *seed, "expected = f(*inputs), inputs"]
        lines += [inputs, *seed, f"actual = {compiled}(*inputs), inputs"]
    return [backend, *_around(context, lines), compare]


def _gradient_calls(
    program: Program,
    context: Context,
    names: Mapping[str, str],
    compiled: str,
    seed: list[str],
) -> list[str]:
    arguments = _arguments(program, names, written(program))
    lines = weights(program, context)
    calls = {"expected": f"f({arguments})", "actual": f"{compiled}({arguments})"}
    texts = {
        name: f"{name} = {gradients(program, context, names, call)}" for name, call in calls.items()
    }
    scopes = bool(_around(context, []))
    long = any(len(text) > WIDTH for text in texts.values())
    for name, call in calls.items():
        if scopes or long or several(program, context):
            lines += _around(context, [*seed, f"out = {call}"])
            lines.append(f"{name} = {gradients(program, context, names, 'out')}")
        else:
            lines += [*seed, texts[name]]
    return lines


def _arguments(program: Program, names: Mapping[str, str], cloned: Collection[str]) -> str:
    """The inputs as arguments, those in `cloned` as copies."""
    return ", ".join(
        _copied(node, names[node.name]) if node.name in cloned else names[node.name]
        for node in program.inputs
    )


def _copied(node: Node, name: str) -> str:
    if isinstance(node.spec, Sequence):
        return f"[item.clone() for item in {name}]"
    return f"{name}.clone()" if isinstance(node.spec, Tensor) else name


def _changed_leaves(program: Program, context: Context) -> frozenset[str]:
    """Inputs that are leaves and require grad: PyTorch lets nobody write into them."""
    if context.inference or not context.grad:
        return frozenset()
    inputs = [
        node.name
        for node in program.inputs
        if any(spec.requires_grad for spec in tensors(node.spec))
    ]
    return written(program).intersection(inputs) if inputs else frozenset()


def _around(context: Context, lines: Iterable[str]) -> list[str]:
    scopes = list(context.around)
    if context.inference:
        scopes.insert(0, "torch.inference_mode()")
    elif not context.grad:
        scopes.insert(0, "torch.no_grad()")
    if not scopes:
        return list(lines)
    return [f"with {', '.join(scopes)}:", *(f"    {line}" for line in lines)]
