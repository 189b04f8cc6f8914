"""The lines of a script that measures what its calls cost, and fails if that is too much."""

from __future__ import annotations

from collections.abc import Sequence

from torchcrux.oracle.cost import MEBIBYTES, Bound

_WARM = "torch.compile(torch.neg, backend=backend)(torch.ones(2))  # what happens only once"


def measured(
    calls: Sequence[str], compiled: str, bound: Bound, *, at_once: bool, on_device: bool
) -> tuple[str, list[str]]:
    """The import that is needed, and the lines. `compiled` is how the calls spell what they
    compile, ``f`` without a compiler; `at_once` whether the backend is called with nothing but the
    graph, and does all its work then; `on_device` whether the memory is an accelerator's."""
    if bound.measure is MEBIBYTES:
        eager = [line.replace(compiled, "f") for line in calls]
        return "" if on_device else "import resource", _weighed(calls, eager, bound, on_device)
    return "import time", _timed(calls, bound) if at_once else _compared(calls, bound)


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


def _timed(calls: Sequence[str], bound: Bound) -> list[str]:
    """What the backend takes, and nothing else."""
    return [
        _WARM,
        "took = 0.0",
        "",
        "",
        "def timed(gm, inputs):",
        "    global took",
        "    start = time.perf_counter()",
        "    compiled = torch._dynamo.lookup_backend(backend)(gm, inputs)",
        "    took += time.perf_counter() - start",
        "    return compiled",
        "",
        "",
        *(line.replace("backend=backend", "backend=timed") for line in calls),
        _asserted("took", bound),
    ]


def _compared(calls: Sequence[str], bound: Bound) -> list[str]:
    """How much longer the calls take with the backend than without, the first time. What else
    runs on the machine makes either longer, never shorter: of the shorter one the least counts."""
    return [
        _WARM,
        "",
        "",
        "def seconds(backend):",
        "    torch.compiler.reset()",
        "    start = time.perf_counter()",
        *(f"    {line}" for line in calls),
        "    return time.perf_counter() - start",
        "",
        "",
        'took = seconds(backend) - min(seconds("eager") for _ in range(3))',
        _asserted("took", bound),
    ]


def _asserted(variable: str, bound: Bound) -> str:
    measure, most = bound.measure, f"{bound.most:g}"
    shown = f"{measure.said} {{{variable}:.{measure.digits}f}} {measure.unit}"
    return f'assert {variable} < {most}, f"{shown}, more than {most} {measure.unit}"'
