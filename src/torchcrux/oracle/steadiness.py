"""Does eager agree with itself? What reads uninitialised memory, or draws numbers that no seed
governs, differs from run to run, and no compiler is to blame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torchcrux.emit.script import probed
from torchcrux.oracle.facts import PROBE
from torchcrux.oracle.main_module import main_module
from torchcrux.oracle.values import Values
from torchcrux.program.cut import writable
from torchcrux.program.ir import Node
from torchcrux.run import Status, Task

RUN = "torchcrux.oracle.steadiness:run_again_and_again"
_EMPTY = ("empty", "empty_like", "empty_strided", "empty_permuted")
_FILLS = (0.0, 113.0)
"""Two values that memory may as well hold."""


@dataclass(frozen=True, slots=True)
class Unsteady:
    """The first value that eager does not compute alike twice, and why."""

    node: Node
    why: str

    def __str__(self) -> str:
        node = self.node
        where = f" at {node.origin.file}:{node.origin.line}" if node.origin else ""
        called = node.target.rpartition(".")[2] or node.name
        return f"Eager does not agree with itself: {called}{where} {self.why}."


def unsteady(values: Values) -> Unsteady | None:
    """What of the captured program differs from run to run in eager; None if nothing does."""
    program = values.with_known(writable(values.draft.program))
    payload = {
        "text": probed(program, values.draft.context, PROBE),
        "data": values.sources(program),
        "outputs": list(program.outputs),
    }
    (outcome,) = values.pool.run([Task(RUN, payload, timeout=values.timeout)])
    if outcome.status is not Status.DONE or outcome.value is None:
        return None
    name, why = outcome.value
    return Unsteady(program.by_name[name], why)


def run_again_and_again(payload: Mapping[str, Any]) -> tuple[str, str] | None:
    """Run ``payload["text"]`` (see emit.script.probed) twice with the memory of new tensors filled
    alike, and once otherwise: the first value that differs, and why. Runs in a child process."""
    from torchcrux.oracle.data import lay_data

    path = Path.cwd() / "steadiness.py"
    lay_data(path.parent, payload.get("data", {}))
    code = compile(payload["text"], str(path), "exec")

    def run() -> dict[str, Any]:
        seen: dict[str, Any] = {}

        def probe(name: str, value: Any) -> None:
            seen[name] = _copied(value)

        exec(code, main_module(path, **{PROBE: probe}).__dict__)
        return seen

    with _filled(_FILLS[0]):
        first, second = run(), run()
    with _filled(_FILLS[1]):
        third = run()
    for other, why in (
        (second, "computes something else each time"),
        (third, "reads memory that nothing has written to"),
    ):
        name = _first_difference(first, other, payload["outputs"])
        if name is not None:
            return name, why
    return None


def _first_difference(
    one: Mapping[str, Any], other: Mapping[str, Any], outputs: Sequence[str]
) -> str | None:
    """The first value that differs, if any of the `outputs` does."""
    if all(_alike(one.get(name), other.get(name)) for name in outputs):
        return None
    return next(name for name in one if not _alike(one[name], other.get(name)))


@contextmanager
def _filled(value: float) -> Iterator[None]:
    """New tensors that nobody has filled hold `value`."""
    import torch

    def made(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return original(*args, **kwargs).fill_(value)

    places: list[tuple[Any, str]] = [(torch, name) for name in _EMPTY if hasattr(torch, name)]
    places += [(torch.Tensor, "new_empty"), (torch.Tensor, "new_empty_strided")]
    before = [(place, name, getattr(place, name)) for place, name in places]
    for place, name, original in before:
        wrapped = partial(made, original)
        setattr(place, name, _method(wrapped) if place is torch.Tensor else wrapped)
    try:
        yield
    finally:
        for place, name, original in before:
            setattr(place, name, original)


def _method(function: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return function(self, *args, **kwargs)

    return method


def _copied(value: Any) -> Any:
    import torch

    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, (tuple, list)):
        return [_copied(item) for item in value]
    return None


def _alike(one: Any, other: Any) -> bool:
    import torch

    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_alike, one, other))
    if not isinstance(one, torch.Tensor) or not isinstance(other, torch.Tensor):
        return True
    if one.layout is not torch.strided or one.is_quantized or one.shape != other.shape:
        return True
    return bool(((one == other) | ((one != one) & (other != other))).all())
