"""What eager computes at every call: shapes, dtypes, strides, ranges. Runs in a child process."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torchcrux.oracle.main_module import main_module
from torchcrux.program.serial import spec_to_json
from torchcrux.program.spec import Sequence, Spec, Tensor

PROBE = "_probe"
SMALL = 64  # elements; a tensor up to this size is kept as literal numbers too
SAMPLED = 65_536  # elements; of a larger tensor, samples are looked for among so many


def observe(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Run ``payload["text"]`` (see emit.script.probed) and describe every value.

    `save` lists the names whose values are written, each to a safetensors file in `folder` and
    before the next is computed; others are not described then. `data` is as in
    `oracle.judge.judge`. Returns specs by name, literal elements of small tensors and samples of
    others by name, the error that ended the run early, if one did, and the files.
    """
    import traceback

    import torch

    from torchcrux.capturing.forms import form_of
    from torchcrux.oracle.data import lay_data
    from torchcrux.oracle.freeing import compiled
    from torchcrux.tensorfile import save as save_tensors

    path = Path.cwd() / "facts.py"
    path.write_text(payload["text"], encoding="utf-8")
    lay_data(path.parent, payload.get("data", {}))
    save = frozenset(payload.get("save", ()))
    specs: dict[str, Any] = {}
    elements: dict[str, list[Any]] = {}
    samples: dict[str, list[Any]] = {}
    kept: dict[str, str] = {}
    probed: list[str] = []

    def probe(name: str, value: Any) -> None:
        probed.append(name)
        if save and name not in save:
            return  # its facts are known
        spec = measure(value)
        if spec is not None:
            specs[name] = spec_to_json(spec)
        for key, tensor in _tensors(name, value):
            form = form_of(tensor)
            if name in save and not form.lost:
                file = Path(payload["folder"]) / f"{len(kept)}.safetensors"
                save_tensors(file, {key: form.dense})
                kept[key] = str(file)
            if tensor.numel() > SMALL and tensor.layout is torch.strided:
                samples[key] = _samples(tensor)
            elif tensor.layout is torch.strided:
                found = elements_of(tensor)
                if found is not None:
                    elements[key] = found

    module = main_module(path, **{PROBE: probe})
    error, kind = None, ""
    try:
        exec(compiled(payload["text"], path, longest=0), module.__dict__)
    except Exception as raised:
        error = "".join(traceback.format_exception_only(raised)).strip()
        kind = f"{type(raised).__module__}.{type(raised).__qualname__}"
    return {
        "specs": specs,
        "elements": elements,
        "samples": samples,
        "probed": probed,
        "error": error,
        "type": kind,
        "saved": kept,
    }


def _tensors(name: str, value: Any) -> list[tuple[str, Any]]:
    import torch

    from torchcrux.capturing.subclasses import stored_tensors

    if isinstance(value, torch.Tensor):
        return [*stored_tensors(name, value).items()]
    if isinstance(value, (tuple, list)):
        return [pair for i, item in enumerate(value) for pair in _tensors(f"{name}.{i}", item)]
    return []


def measure(value: Any) -> Spec | None:
    """The spec of a real value, with the range of integer tensors."""
    import torch

    from torchcrux.capturing.lower import describe

    spec = describe(value)
    if isinstance(spec, Sequence):
        return Sequence(tuple(_ranged(s, v) for s, v in zip(spec.items, value, strict=True)))
    if isinstance(value, torch.Tensor) and spec is not None:
        return _ranged(spec, value)
    return spec


def _ranged(spec: Spec, value: Any) -> Spec:
    if isinstance(spec, Tensor) and spec.parts:
        parts = tuple((name, _ranged(part, getattr(value, name))) for name, part in spec.parts)
        return replace(spec, parts=parts)  # type: ignore[arg-type]
    if (
        not isinstance(spec, Tensor)
        or spec.is_floating
        or spec.form
        or spec.lengths
        or not value.numel()
    ):
        return spec
    low, high = value.detach().cpu().long().aminmax()
    return replace(spec, low=int(low), high=int(high))


def _samples(tensor: Any) -> list[Any]:
    """What is not finite in `tensor`, each once, its largest and its smallest number."""
    import torch

    without = tensor.is_complex() or tensor.is_quantized or tensor.dtype is torch.bool
    if without or tensor.is_meta:
        return []
    flat = tensor.detach().reshape(-1)[:SAMPLED].cpu()
    flat = flat.to(torch.float64 if flat.is_floating_point() else torch.int64)
    finite = flat[flat.isfinite()]
    ends = [finite.max(), finite.min()] if len(finite) else []
    unusual = flat[~flat.isfinite()].tolist()
    found = dict.fromkeys([*map(str, unusual), *(one.item() for one in ends)])
    return list(found)


def elements_of(tensor: Any) -> list[Any] | None:
    """Row-major elements as JSON can carry them, floats in the fewest digits that tell them; None
    for dtypes that have no literal."""
    dense = tensor.detach().cpu()
    if dense.is_complex() or dense.is_quantized:
        return None
    if dense.is_floating_point():
        return [x if x - x == 0 else str(x) for x in _shortest(dense.reshape(-1))]
    found: list[Any] = dense.reshape(-1).tolist()
    return found


def number(element: Any) -> Any:
    """An element as it was before `elements_of`; of NaN always the same object, or two drafts would
    never be equal."""
    found = float(element) if isinstance(element, str) else element
    return found if found == found else math.nan


def _shortest(dense: Any) -> list[float]:
    """The floats of `dense`, each the shortest decimal that is the same in its dtype."""
    import torch

    wide = dense.to(torch.float64)
    values: list[float] = wide.tolist()
    left = [*range(len(values))]
    for digits in range(1, 10):
        if not left:
            break
        rounded = [float(f"{values[i]:.{digits}g}") for i in left]
        there = torch.tensor(rounded, dtype=torch.float64, device="cpu")
        there = there.to(dense.dtype).to(torch.float64)
        same = (there == wide[left]).tolist()
        for i, value, exact in zip(left, rounded, same, strict=True):
            if exact:
                values[i] = value
        left = [i for i, exact in zip(left, same, strict=True) if not exact]
    return values
