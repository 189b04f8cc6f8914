"""From the text of a script to a verdict. Runs in a child process that may crash or hang.

The text is executed as it is. Only if it fails as expected is it executed a second time, with
`torch.compile` doing nothing: what fails then as well is not the compiler's fault. Where a failure
leaves no accelerator behind, that comes first.
"""

from __future__ import annotations

import inspect
import re
import time
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchcrux.oracle.compiling import own_compiler
from torchcrux.oracle.cost import says_costly
from torchcrux.oracle.failure import Failure, Kind, Stage
from torchcrux.oracle.main_module import main_module
from torchcrux.oracle.signature import why_different
from torchcrux.oracle.uncompiled import uncompiled

if TYPE_CHECKING:
    from torchcrux.oracle.numerics import Mismatch


_OF_INDUCTOR = ("torch/_inductor/compile_fx.py:", "torch/_inductor/graph.py:")


class Verdict(str, Enum):
    SAME = "same"
    PASSES = "passes"
    DIFFERENT = "different"
    INVALID = "invalid"
    BROKEN = "broken"


def judge(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Judge ``payload["text"]``.

    `threads` is how many C++ compilers may run at once, `attribute` what the script compares of the
    outputs, empty for their values. `renamed` are pairs: the name of a value in the text, or in the
    graph that Dynamo makes of it, and its name in the captured program. `expected` and
    `expected_names` are the failure to compare with and all names of that program, `match` an
    optional regular expression. `data` maps keys of the script's data file to (file, key) pairs,
    `reference` is whether a float64 run can serve as one, `draws` whether the function draws random
    numbers, `backward` whether a script for wrong numbers compares gradients. Returns verdict,
    failure, reason, and seconds spent in the compiled run.
    """
    with own_compiler(payload.get("threads", 1)):
        return _judged(payload)


def _judged(payload: Mapping[str, Any]) -> dict[str, Any]:

    from torchcrux.oracle.data import lay_data

    path = Path.cwd() / "repro.py"
    path.write_text(payload["text"], encoding="utf-8")
    lay_data(path.parent, payload.get("data", {}))
    expected = Failure.from_json(payload["expected"])
    started = time.perf_counter()
    backward = payload.get("backward", False)

    def unlike(failure: Failure) -> str | None:
        return why_different(
            expected,
            payload["expected_names"],
            failure,
            [name for name, _ in payload["renamed"]],
            match=re.compile(payload["match"]) if payload.get("match") else None,
            renamed=payload["renamed"],
        )

    def without_compiler() -> Failure | None:
        with uncompiled():
            return execute(payload["text"], path)[1]

    failure: Failure | None
    eager = without_compiler() if expected.stops_device else None
    if eager is not None:
        failure = eager
    elif _arises_before_kernels(expected):
        namespace, failure = _execute_without_kernels(payload["text"], path, unlike)
    else:
        compares = payload.get("attribute") or ("gradient" if backward else "values")
        namespace, failure = execute(payload["text"], path, compares)
    seconds = time.perf_counter() - started

    def answer(verdict: Verdict, reason: str = "") -> dict[str, Any]:
        found = None if failure is None else failure.to_json()
        return {
            "verdict": verdict.value,
            "failure": found,
            "reason": reason,
            "seconds": seconds,
        }

    if eager is not None:
        return answer(Verdict.INVALID, f"eager fails as well: {eager.message}")
    if failure is None:
        return answer(Verdict.PASSES)
    if failure.kind is Kind.ACCURACY and payload.get("reference", True):
        from torchcrux.oracle.numerics import is_slip

        draws = payload.get("draws", False)
        mismatch = unjustified(namespace, backward=backward, draws=draws)
        if mismatch is None:
            reason = "the difference is within what a float64 run justifies"
            return answer(Verdict.PASSES, reason)
        if is_slip(expected.metric, mismatch):
            reason = "the difference may be rounding, and what was captured was not"
            return answer(Verdict.PASSES, reason)
    namespace.clear()  # its tensors: there may be no room for those of another run beside them
    eager = None if expected.stops_device else without_compiler()
    if eager is not None:
        return answer(Verdict.INVALID, f"eager fails as well: {eager.message}")
    difference = unlike(failure)
    if difference is not None:
        return answer(Verdict.DIFFERENT, difference)
    return answer(Verdict.SAME)


def _arises_before_kernels(failure: Failure) -> bool:
    """Whether Inductor had compiled nothing yet when it failed."""
    from torchcrux.oracle._torch import STOP

    frames = failure.frames
    inductor = any(frame.startswith(_OF_INDUCTOR) for frame in frames)
    return failure.kind is Kind.COMPILE_ERROR and inductor and STOP not in frames


def _execute_without_kernels(
    text: str, path: Path, unlike: Callable[[Failure], str | None]
) -> tuple[dict[str, Any], Failure | None]:
    """`execute`, without paying for a C++ compiler behind the stage in question.

    Where a graph was stopped and something unexpected is raised, the text is run in full.
    """
    import torch

    from torchcrux.oracle._torch import without_kernels

    with without_kernels() as stops:
        namespace, failure = execute(text, path)
    expected = failure is None or unlike(failure) is None
    if not stops.used or (expected and not stops.failed):
        return namespace, failure
    torch.compiler.reset()
    return execute(text, path)


def execute(
    text: str, path: Path, compares: str = "values"
) -> tuple[dict[str, Any], Failure | None]:
    """Run `text` as a main script found at `path`; its globals, and how it failed. `compares` is
    the attribute that it compares, if it compares; then ``actual`` and ``expected`` are among the
    globals."""
    from torchcrux import _torch
    from torchcrux.oracle._torch import dispatch_put_back
    from torchcrux.oracle.failure import from_exception
    from torchcrux.oracle.freeing import compiled

    module = main_module(path)
    code = compiled(text, path)
    with _torch.compiler_errors() as raised_by_compiler, dispatch_put_back():
        try:
            exec(code, module.__dict__)
        except (Exception, SystemExit) as error:
            costly = says_costly(error)
            if costly is not None:
                return module.__dict__, costly
            compared = _compared(error)
            if compared is not None:
                return {**module.__dict__, **compared}, _accuracy(error, compares)
            failure = from_exception(error, compiling=raised_by_compiler(error))
            return module.__dict__, failure
    return module.__dict__, None


def _compared(error: BaseException) -> dict[str, Any] | None:
    """What ``torch.testing.assert_close`` of the script itself found to be different."""
    if not isinstance(error, AssertionError):
        return None
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None or trace.tb_frame.f_code.co_name != "assert_close":
        return None
    return {name: trace.tb_frame.f_locals[name] for name in ("actual", "expected")}


_ATTRIBUTE = re.compile(r"values for attribute '(\w+)(?:\(\))?'")


def _accuracy(error: BaseException, compares: str) -> Failure:
    attribute = _ATTRIBUTE.search(str(error))
    usual = "values" if compares == "stride" else compares
    return Failure(
        kind=Kind.ACCURACY,
        stage=Stage.RUN,
        exceptions=(("AssertionError", str(error)),),
        frames=(),
        metric={"attribute": attribute.group(1) if attribute else usual},
    )


def unjustified(
    namespace: Mapping[str, Any], *, backward: bool, draws: bool = False
) -> Mismatch | None:
    """The difference, unless it is within what float64 justifies.

    The script has compared ``actual`` and ``expected``; ``f`` run once more on inputs of double
    precision tells which of the two is right. With `backward` these are gradients; otherwise they
    may include the inputs after the call. If `f` `draws` random numbers, that run counts where it
    has drawn the same.
    """
    import torch

    from torchcrux.capturing.clones import clone_inputs, converted
    from torchcrux.capturing.gradients import leaves
    from torchcrux.oracle.gradients import compare_gradients
    from torchcrux.oracle.numerics import compare, roughly_alike, upcast
    from torchcrux.oracle.short_products import coarse, matters
    from torchcrux.oracle.undecided import decides, moved, settled
    from torchcrux.oracle.widening import in_double

    pure, passed, held = _as_function(namespace)

    def function(*args: Any) -> Any:
        if draws:
            torch.manual_seed(0)  # as the script does
        return pure(*args)

    inputs = [*passed, *held]
    actual, expected = leaves(namespace["actual"]), leaves(namespace["expected"])

    def outputs_of(values: list[Any]) -> list[Any]:
        with torch.no_grad():
            outputs = leaves(function(*values))
        if len(outputs) == len(actual):
            return outputs
        return [*outputs, *leaves(values[: len(passed)])]

    def again(seed: int) -> list[Any] | None:
        short = matters(expected, rough)
        try:
            near = [_map(lambda x: moved(x, seed, short=short), value) for value in inputs]
            return outputs_of(near)
        except Exception:
            return None

    def exact() -> list[Any]:
        wide = converted(inputs, lambda value: _map(upcast, value))
        if backward:
            return leaves(_gradients(function, wide, namespace.get("grad")))
        return outputs_of(wide)

    reference = in_double(exact, lambda found: roughly_alike(expected, found))
    if draws and reference is not None and not roughly_alike(expected, reference):
        reference = None
    where = [*leaves(inputs), *actual]
    rough: Sequence[Any] | None = None
    if backward:
        known = reference if reference and len(reference) == len(actual) else None
        mismatch = compare_gradients(expected, actual, known)
        if mismatch is not None:
            grad = namespace.get("grad")
            rough = coarse(lambda: leaves(_gradients(function, clone_inputs(inputs), grad)), where)
            mismatch = compare_gradients(expected, actual, known, rough)
    else:
        mismatch = compare(expected, actual, reference)
        if mismatch is not None and reference is not None:
            rough = coarse(lambda: outputs_of(clone_inputs(inputs)), where)
        if rough is not None:
            mismatch = compare(expected, actual, reference, rough=rough)
        if mismatch is not None and decides(actual):
            actual = settled(expected, actual, again)
            mismatch = compare(expected, actual, reference, rough=rough)
    return mismatch


def _as_function(namespace: Mapping[str, Any]) -> tuple[Callable[..., Any], list[Any], list[Any]]:
    """The function of a script, what it is passed, and what it holds, if it is a module: further
    arguments of the function that is returned."""
    import torch

    f = namespace["f"]
    if not isinstance(f, torch.nn.Module):
        return f, [namespace[name] for name in inspect.signature(f).parameters], []
    passed = [namespace[name] for name in inspect.signature(f.forward).parameters]
    held = {**dict(f.named_parameters()), **dict(f.named_buffers())}

    def function(*args: Any) -> Any:
        given = dict(zip(held, args[len(passed) :], strict=True))
        return torch.func.functional_call(f, given, args[: len(passed)])

    return function, passed, [*held.values()]


def _gradients(function: Any, inputs: list[Any], grad: Any) -> list[Any]:
    """The gradients of `inputs`. `grad` are those of the outputs; None for
    the script's own plain loss."""
    import torch

    wanted = [x for x in _leaves(inputs) if isinstance(x, torch.Tensor) and x.requires_grad]
    given = _map(lambda x: x.clone() if isinstance(x, torch.Tensor) else x, inputs)
    outputs = [
        out
        for out in _leaves(function(*given))
        if isinstance(out, torch.Tensor) and out.requires_grad
    ]
    if grad is None:
        outputs = [(out.abs() if out.is_complex() else out).sum() for out in outputs]
        weights = [torch.ones_like(out) for out in outputs]
    else:
        weights = [weight.to(out.dtype) for weight, out in zip(_leaves(grad), outputs, strict=True)]
    return list(torch.autograd.grad(outputs, wanted, weights, materialize_grads=True))


def _map(function: Any, value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return type(value)(_map(function, item) for item in value)
    return function(value)


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, (tuple, list)):
        return [leaf for item in value for leaf in _leaves(item)]
    return [value]
