"""The lines of a script that measures what its calls cost, and fails if that is too much."""

from __future__ import annotations

from collections.abc import Sequence

from torchcrux.oracle.cost import MEBIBYTES, Bound

_METRICS = "from torch._dynamo.utils import compilation_time_metrics"
_WARM = "torch.compile(torch.neg, backend=backend)(torch.ones(2))  # what happens only once"


def measured(
    calls: Sequence[str], compiled: str, bound: Bound, *, backward: bool, on_device: bool
) -> tuple[str, list[str]]:
    """The import that is needed, and the lines. `compiled` is how the calls spell what they
    compile, ``f`` without a compiler; `backward` whether they compile a backward as well;
    `on_device` whether the memory is an accelerator's."""
    if bound.measure is MEBIBYTES:
        eager = [line.replace(compiled, "f") for line in calls]
        return "" if on_device else "import resource", _weighed(calls, eager, bound, on_device)
    return _METRICS, _timed(calls, bound, backward)


def _weighed(
    calls: Sequence[str], eager: Sequence[str], bound: Bound, on_device: bool
) -> list[str]:
    """Eager runs first: what the process has needed at most by then is not counted."""
    highest = (
        "torch.accelerator.max_memory_allocated() / 2**20"
        if on_device
        else "resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024"
    )
    return [
        _WARM,
        *eager,
        f"before = {highest}",
        *calls,
        f"spent = {highest} - before",
        _asserted("spent", bound),
    ]


def _timed(calls: Sequence[str], bound: Bound, backward: bool) -> list[str]:
    """torch's own record of how long it has waited for the backend: what the calls take besides
    is not the backend's, and differs from run to run."""
    return [
        _WARM,
        "compilation_time_metrics.clear()",
        *calls,
        'took = sum(compilation_time_metrics.get("OutputGraph.call_user_compiler", []))',
        *(['took += sum(compilation_time_metrics.get("backward._backward_impl", []))'] * backward),
        _asserted("took", bound),
    ]


def _asserted(variable: str, bound: Bound) -> str:
    measure, most = bound.measure, f"{bound.most:g}"
    shown = f"{measure.said} {{{variable}:.{measure.digits}f}} {measure.unit}"
    return f'assert {variable} < {most}, f"{shown}, more than {most} {measure.unit}"'
