"""A function through the whole chain: compiled, captured, lowered, written as JSON, read, printed,
run as a script, captured again. What comes out must be what went in.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import torch

from torchcrux.capturing.clones import clone_inputs
from torchcrux.capturing.lower import describe, lower
from torchcrux.capturing.spelling import Spelling
from torchcrux.emit.inputs import Unmakeable, factory
from torchcrux.emit.random import name_of
from torchcrux.emit.script import script
from torchcrux.oracle.main_module import main_module
from torchcrux.program.context import Backend, Context
from torchcrux.program.ir import Body, Program, Ref, Slice, Value
from torchcrux.program.serial import program_from_json, program_to_json
from torchcrux.program.spec import Tensor, contiguous_strides


class Differs(AssertionError):
    """The chain lost something; `part` says what: graph, outputs, inputs, factory or script."""

    def __init__(self, part: str, reason: str, text: str = "") -> None:
        super().__init__(f"{part}: {reason}" + (f"\n{text}" if text else ""))
        self.part, self.reason, self.text = part, reason, text


class Obstacle(Exception):
    """The graph holds what cannot be written; the message says what, and is no accident."""


class DoesNotCompile(Exception):
    """The function does not run under ``torch.compile(backend="eager")`` in the first place."""


@dataclass
class Call:
    """One call of one captured graph: what it was given, and what came of it."""

    gm: torch.fx.GraphModule
    args: list[Any]
    rng: torch.Tensor
    grad: bool
    inference: bool
    after: list[Any] = field(default_factory=list)
    results: Any = None


class Recording:
    """A backend that runs graphs as they are and remembers every call."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def __call__(self, gm: torch.fx.GraphModule, example_inputs: list[Any]) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            call = Call(
                gm,
                _copied(args),
                torch.get_rng_state(),
                torch.is_grad_enabled(),
                torch.is_inference_mode_enabled(),
            )
            results = gm(*args)
            call.results, call.after = _copied(results), _copied(args)
            self.calls.append(call)
            return results

        return run


def round_trip(
    function: Callable[..., Any],
    *args: Any,
    spelling: Spelling | None = None,
    dynamic: bool | None = None,
    **kwargs: Any,
) -> list[str]:
    """The scripts printed for the graphs of one call of `function`, each verified.

    Raises DoesNotCompile, Obstacle or Differs.
    """
    torch._dynamo.reset()
    recording = Recording()
    torch.manual_seed(0)
    try:
        torch.compile(function, backend=recording, dynamic=dynamic)(*args, **kwargs)
    except Exception as error:
        raise DoesNotCompile(f"{type(error).__name__}: {error}") from error
    spelling = spelling or Spelling()
    return [_verified(call, spelling, dynamic) for call in recording.calls]


_UNINITIALISED = frozenset(
    ["empty", "empty_like", "empty_strided", "empty_permuted", "new_empty", "new_empty_strided"]
)


def _verified(call: Call, spelling: Spelling, dynamic: bool | None) -> str:
    lowered = lower(call.gm, call.args, spelling)
    program = program_from_json(json.loads(json.dumps(program_to_json(lowered.program))))
    if program != lowered.program and repr(program) != repr(lowered.program):
        raise Differs("json", "the program that was read is not the one that was written")
    for node in program.nodes:
        if node.obstacle:
            raise Obstacle(f"{node.name}: {node.obstacle}")
    context = Context(Backend("eager"), dynamic=dynamic, grad=call.grad, inference=call.inference)
    stored = Program(
        tuple(_stored(node) if node in program.inputs else node for node in program.nodes),
        program.outputs,
    )
    try:
        text = script(stored, context)
        _check_factories(program)
    except Unmakeable as reason:
        raise Obstacle(str(reason)) from reason
    data = {name: _dense(tensor) for name, tensor in lowered.tensors.items()}
    again, returned = _run(text, data, call.rng)
    if program.calls:
        if len(again.calls) != 1:
            raise Differs("graph", f"{len(again.calls)} graphs instead of one", text)
        repeated = again.calls[0]
        have = lower(repeated.gm, repeated.args, spelling).program
        difference = first_difference(canonical(have), canonical(program))
        if difference:
            raise Differs("graph", difference, text)
    expected = _returned(call, program)
    actual = (returned.result,) if len(program.outputs) == 1 else returned.result or ()
    values = not any(name_of(node) in _UNINITIALISED for node in program.calls)
    why = _different(tuple(actual), expected, values=values)
    if why:
        raise Differs("outputs", why, text)
    names = [node.name for node in program.inputs]
    placeholders = [node.name for node in call.gm.graph.nodes if node.op == "placeholder"]
    for name, value in zip(names, returned.args, strict=True):
        if name in placeholders:
            why = _different(value, call.after[placeholders.index(name)], layout=False)
            if why:
                raise Differs("inputs", f"{name} after the call: {why}", text)
    return text


def _stored(node: Any) -> Any:
    return replace(node, value=Value.STORED) if isinstance(node.spec, Tensor) else node


def _check_factories(program: Program) -> None:
    """The random factory makes a tensor of the shape, dtype and strides that were seen."""
    for node in program.inputs:
        if not isinstance(node.spec, Tensor):
            continue
        text = factory(node)
        try:
            spec = describe(eval(text, {"torch": torch}))
        except Exception as error:
            raise Differs("factory", f"{text}: {error}") from error
        for name in ("shape", "dtype", "device", "requires_grad", "is_leaf", "conj"):
            have, want = getattr(spec, name), getattr(node.spec, name)
            if have != want:
                raise Differs("factory", f"{text} has {name} {have}, not {want}")
        if not _same_strides(spec.shape, spec.strides, node.spec.strides):
            raise Differs("factory", f"{text} has strides {spec.strides}, not {node.spec.strides}")


def _same_strides(shape: Any, one: Any, other: Any) -> bool:
    if 0 in shape:
        return True
    dense = contiguous_strides(shape)
    return all(
        size == 1 or a == b for size, a, b in zip(shape, one or dense, other or dense, strict=True)
    )


@dataclass
class Returned:
    args: tuple[Any, ...] = ()
    result: Any = None


@contextmanager
def _script() -> Iterator[ModuleType]:
    """``__main__`` for a script, until the context ends."""
    main = sys.modules["__main__"]
    try:
        yield main_module(Path("repro.py"))
    finally:
        sys.modules["__main__"] = main


def _run(text: str, data: dict[str, torch.Tensor], rng: torch.Tensor) -> tuple[Recording, Returned]:
    """Execute a script whose ``torch.compile`` is watched."""
    recording, returned = Recording(), Returned()
    original = torch.compile

    def watched(function: Any, *, backend: Any, **keywords: Any) -> Any:
        compiled = original(function, backend=recording, fullgraph=True, **keywords)

        def call(*args: Any) -> Any:
            torch.set_rng_state(rng)
            result = compiled(*args)
            returned.args, returned.result = args, result
            return result

        return call

    torch._dynamo.reset()
    code = compile(text, "repro.py", "exec")
    with (
        _script() as module,
        patch("safetensors.torch.load_file", lambda path: dict(data)),
        patch.object(torch, "compile", watched),
    ):
        try:
            exec(code, module.__dict__)
        except Exception as error:
            raise Differs("script", f"{type(error).__name__}: {error}", text) from error
    return recording, returned


def _returned(call: Call, program: Program) -> tuple[Any, ...]:
    """What the graph returned, each value once, without constants: as `Program.outputs`."""
    (output,) = (node for node in call.gm.graph.nodes if node.op == "output")
    found: dict[str, Any] = {}

    def visit(arg: Any, value: Any) -> None:
        if isinstance(arg, torch.fx.Node):
            found.setdefault(arg.name, value)
        elif isinstance(arg, (tuple, list)):
            for inner, item in zip(arg, value, strict=True):
                visit(inner, item)

    visit(output.args[0], call.results)
    return tuple(found[name] for name in program.outputs)


def canonical(program: Program) -> list[str]:
    """A program without what a name or an unused value decides: one line a call."""
    numbers: dict[str, int] = {}

    def text(arg: Any) -> str:
        match arg:
            case Ref(name):
                return f"%{numbers.setdefault(name, len(numbers))}"
            case tuple():
                return f"({', '.join(map(text, arg))})"
            case list():
                return f"[{', '.join(map(text, arg))}]"
            case dict():
                return "{" + ", ".join(f"{key}: {text(value)}" for key, value in arg.items()) + "}"
            case Slice(start, stop, step):
                return f"slice{text((start, stop, step))}"
            case Body(inner):
                return "{" + "; ".join(canonical(inner)) + "}"
        return repr(arg)

    lines = []
    for node in program.calls:
        parts = [text(arg) for arg in node.args]
        parts += [f"{key}={text(value)}" for key, value in node.kwargs]
        scope = "".join(f"{region.text}: " for region in node.regions)
        result = numbers.setdefault(node.name, len(numbers))
        lines.append(f"%{result} = {scope}{node.op.value} {node.target}({', '.join(parts)})")
    return lines


def first_difference(have: list[str], want: list[str]) -> str:
    for one, other in zip(have, want, strict=False):
        if one != other:
            return f"{one}  instead of  {other}"
    if len(have) != len(want):
        return f"{len(have)} calls instead of {len(want)}"
    return ""


def _different(actual: Any, expected: Any, *, layout: bool = True, values: bool = True) -> str:
    """Why two results are not the same in class, shape, dtype, strides (`layout`) or `values`."""
    if isinstance(expected, (tuple, list)):
        if not isinstance(actual, (tuple, list)) or len(actual) != len(expected):
            return f"{_brief(actual)} instead of {_brief(expected)}"
        pairs = zip(actual, expected, strict=True)
        found = (_different(*pair, layout=layout, values=values) for pair in pairs)
        return next(filter(None, found), "")
    if not isinstance(expected, torch.Tensor):
        same = type(actual) is type(expected) and (actual == expected or actual != actual)
        return "" if same else f"{_brief(actual)} instead of {_brief(expected)}"
    if not isinstance(actual, torch.Tensor):
        return f"{_brief(actual)} instead of {_brief(expected)}"
    for name in ("dtype", "shape", "device", "layout", "requires_grad"):
        have, want = getattr(actual, name), getattr(expected, name)
        if have != want:
            return f"{name} {have} instead of {want}"
    if expected.layout is not torch.strided or expected.is_quantized:
        actual, expected = actual.to_dense(), expected.to_dense()
    elif layout and not _same_strides(actual.shape, actual.stride(), expected.stride()):
        return f"strides {actual.stride()} instead of {expected.stride()}"
    if not values:
        return ""
    try:
        torch.testing.assert_close(actual, expected, rtol=0, atol=0, equal_nan=True)
    except AssertionError as difference:
        return str(difference).splitlines()[0]
    return ""


def _brief(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return repr(value)[:80]


def _copied(values: Any) -> list[Any]:
    listed = list(values) if isinstance(values, (tuple, list)) else [values]
    return clone_inputs([list(v) if isinstance(v, (tuple, list)) else v for v in listed])


def _dense(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().clone().resolve_conj().resolve_neg().contiguous()


def samples(op: Any, dtype: torch.dtype, count: int) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Arguments of the first samples that OpInfo has for `op`."""
    for i, sample in enumerate(op.sample_inputs("cpu", dtype, requires_grad=False)):
        if i == count:
            return
        yield (sample.input, *sample.args), sample.kwargs
