"""The lines of a script that call the compiled function: once or several times, plainly or to be
compared with eager."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from torchcrux.emit.calls import argument, quoted
from torchcrux.emit.flow import written
from torchcrux.emit.gradients import backward, gradients, several, weights
from torchcrux.emit.inputs import factory
from torchcrux.emit.layout import WIDTH
from torchcrux.emit.memory import copied_with_views, sharing
from torchcrux.emit.modules import owned, updates
from torchcrux.emit.random import draws
from torchcrux.oracle.tolerance import Tolerance
from torchcrux.program.context import Backend, Context
from torchcrux.program.earlier import sized
from torchcrux.program.ir import Node, Program, Value
from torchcrux.program.spec import Sequence, Tensor, tensors


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
    module = "os" if context.environment else "torch.os"
    return [
        f"backend = {_backend(context.backend, module)}",
        f"torch.compile(f, {', '.join(keywords)})",
    ]


def _backend(backend: Backend, module: str) -> str:
    variable = f'{module}.environ.get("TORCH_COMPILE_BACKEND"'
    if backend.module or backend.source:
        return f"{variable}) or {backend.name}"
    return f"{variable}, {quoted(backend.name)})"


def _call(context: Context, arguments: str) -> str:
    """What is compiled, called; it has a name if that is not the only call."""
    compiled = "compiled" if _is_called_before(context) else compiler(context)[1]
    return f"{compiled}({arguments})"


def _is_called_before(context: Context) -> bool:
    return bool(context.calls > 1 or context.earlier or context.updated)


def plain_call(program: Program, context: Context, names: Mapping[str, str]) -> list[str]:
    arguments = arguments_of(program, names, changed_leaves(program, context))
    backend, _ = compiler(context)
    call = _call(context, arguments)
    if context.writes:
        written_to = [f"{out}.mul_(1)" for out in _floating(program)]
        if written_to == ["out.mul_(1)"] and not enclosed(context, []):
            return [backend, f"{call}.mul_(1)"]
        return [backend, *enclosed(context, [f"out = {call}", *written_to])]
    if not context.backward:
        return [backend, *enclosed(context, [call])]
    at_once = backward(program, context, call)
    if not enclosed(context, []) and not several(program, context) and len(at_once) <= WIDTH:
        return [backend, *weights(program, context), at_once]
    lines = enclosed(context, [f"out = {call}"])
    return [backend, *weights(program, context), *lines, backward(program, context, "out")]


def repeated(
    inputs: list[str],
    calls: list[str],
    program: Program,
    context: Context,
    names: Mapping[str, str],
    times: int = 1,
) -> tuple[list[str], list[str]]:
    """The lines that make the inputs, and `calls` in as many turns as the context asks for, behind
    those with other sizes, or before an update. Where that is `times` at least, all is compiled
    anew for each turn."""
    if context.calls > 1:
        if context.anew:
            inputs, calls = [], [*inputs, *calls]
        calls = _turns(context.calls, calls)
    if context.updated:
        call = f"compiled({arguments_of(program, names, written(program))})"
        calls = [*enclosed(context, [call]), *updates(names, owned(program, context)), *calls]
    if _is_called_before(context):
        calls = [f"compiled = {compiler(context)[1]}", *earlier(program, context), *calls]
    times = max(times, context.compilations)
    if times > 1:
        calls = _turns(times, ["torch.compiler.reset()", *calls])
    return inputs, calls


def _turns(count: int, lines: list[str]) -> list[str]:
    return [f"for _ in range({count}):", *(f"    {line}" for line in lines)]


def earlier(program: Program, context: Context) -> list[str]:
    """The calls with other sizes; their values do not matter."""
    leaves = changed_leaves(program, context)
    lines = []
    for sizes in context.earlier:
        given = []
        held = owned(program, context)
        for node in program.inputs:
            if node in held:
                continue
            floating = isinstance(node.spec, Tensor) and node.spec.is_floating
            value = Value.ONES if floating else Value.ZEROS
            other = replace(node, spec=sized(node.spec, dict(sizes)), value=value, elements=())
            given.append(factory(other) + ".clone()" * (node.name in leaves))
        lines.append(f"compiled({', '.join(given)})")
    return enclosed(context, lines) if lines else []


def marked(program: Program, names: Mapping[str, str]) -> list[str]:
    """The lines that mark each dimension whose size the compiler took for a symbol."""
    return [
        f"torch._dynamo.mark_dynamic({names[node.name]}, {dimension})"
        for node in program.inputs
        if isinstance(node.spec, Tensor)
        for dimension, symbol in enumerate(node.spec.symbols)
        if symbol
    ]


def _floating(program: Program) -> list[str]:
    """The outputs of floating dtype, given that ``out`` is what the function has returned."""
    specs = [program.by_name[name].spec for name in program.outputs]
    texts = ["out"] if len(specs) == 1 else [f"out[{i}]" for i in range(len(specs))]
    pairs = zip(texts, specs, strict=True)
    return [text for text, spec in pairs if isinstance(spec, Tensor) and spec.is_floating]


def _compared(program: Program, context: Context, names: Mapping[str, str], attribute: str) -> str:
    """The call that compares ``actual`` with ``expected``."""
    match attribute:
        case "" | "stride":
            how = [", equal_nan=True"] * context.equal_nan + [", check_stride=True"] * bool(
                attribute
            )
            return f"torch.testing.assert_close(actual, expected{''.join(how)})"
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


def compared_call(
    program: Program,
    context: Context,
    names: Mapping[str, str],
    attribute: str = "",
    tolerance: Tolerance | None = None,
) -> list[str]:
    """Compare what is returned, and what is left of inputs that are written to; or gradients."""
    backend, _ = compiler(context)
    compare = _with_tolerance(_compared(program, context, names, attribute), tolerance)
    seed = ["torch.manual_seed(0)"] if draws(program, context.operators) else []
    if context.backward:
        return [backend, *_gradient_calls(program, context, names, seed), compare]
    changed = written(program) if not attribute else frozenset()
    shared = any(len(group) > 1 for group in sharing(program))
    arguments = arguments_of(program, names, changed)
    if changed and (context.changes or shared):
        inputs = f"inputs = [{arguments}]"
        if shared:
            inputs = f"inputs = copy.deepcopy([{arguments_of(program, names, ())}])"
        lines = [inputs, *seed, "expected = f(*inputs), inputs"]
        copies, again = copied_with_views(program, names)
        if copies:  # a deep copy is no view
            texts = [
                again.get(node.name)
                or (_copied(node, names[node.name]) if node.name in changed else names[node.name])
                for node in program.inputs
                if "." not in names[node.name]
            ]
            lines += [*copies, f"inputs = [{', '.join(texts)}]"]
        else:
            lines.append(inputs)
        lines += [*seed, f"actual = {_call(context, '*inputs')}, inputs"]
        return [backend, *enclosed(context, lines), compare]
    call = _call(context, arguments)
    at_once = compare.replace("actual", call).replace("expected", f"f({arguments})")
    if not (seed or attribute or context.around) and len(at_once) <= WIDTH:
        return [backend, *enclosed(context, [at_once])]
    lines = [*seed, f"expected = f({arguments})", *seed, f"actual = {call}"]
    return [backend, *enclosed(context, lines), compare]


def _gradient_calls(
    program: Program,
    context: Context,
    names: Mapping[str, str],
    seed: list[str],
) -> list[str]:
    arguments = arguments_of(program, names, written(program))
    lines = weights(program, context)
    calls = {"expected": f"f({arguments})", "actual": _call(context, arguments)}
    scopes = bool(enclosed(context, []))
    for name, call in calls.items():
        text = f"{name} = {gradients(program, context, names, call)}"
        if scopes or len(text) > WIDTH or several(program, context):
            lines += enclosed(context, [*seed, f"out = {call}"])
            lines.append(f"{name} = {gradients(program, context, names, 'out')}")
        else:
            lines += [*seed, text]
    return lines


def arguments_of(program: Program, names: Mapping[str, str], cloned: Collection[str]) -> str:
    """The inputs as arguments, those in `cloned` as copies. What a module holds is none."""
    return ", ".join(
        _copied(node, names[node.name]) if node.name in cloned else names[node.name]
        for node in program.inputs
        if "." not in names[node.name]
    )


def _copied(node: Node, name: str) -> str:
    if isinstance(node.spec, Sequence):
        return f"[item.clone() for item in {name}]"
    return f"{name}.clone()" if isinstance(node.spec, Tensor) else name


def changed_leaves(program: Program, context: Context) -> frozenset[str]:
    """Inputs that are leaves and require grad: PyTorch lets nobody write into them."""
    if context.inference or not context.grad:
        return frozenset()
    inputs = [
        node.name
        for node in program.inputs
        if any(spec.requires_grad for spec in tensors(node.spec))
    ]
    return written(program).intersection(inputs) if inputs else frozenset()


def enclosed(context: Context, lines: Iterable[str]) -> list[str]:
    scopes = list(context.around)
    if context.inference:
        scopes.insert(0, "torch.inference_mode()")
    elif not context.grad:
        scopes.insert(0, "torch.no_grad()")
    if not scopes:
        return list(lines)
    return [f"with {', '.join(scopes)}:", *(f"    {line}" for line in lines)]
