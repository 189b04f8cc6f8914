"""Plain dtypes and devices."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from torchcrux.passes.base import Draft, Edit
from torchcrux.passes.trying import TriedFirst
from torchcrux.program.ir import Arg, Atom
from torchcrux.program.literals import with_mapped
from torchcrux.program.spec import Sequence, Spec, Tensor, tensors

PLAINER = {
    "bfloat16": ("float32",),
    "float16": ("float32",),
    "float64": ("float32",),
    "complex128": ("complex64", "float32"),
    "complex64": ("float32",),
    "int32": ("int64",),
    "int16": ("int64",),
    "int8": ("int64",),
    "uint8": ("int64",),
    "float8_e4m3fn": ("float32",),
    "float8_e5m2": ("float32",),
}
"""What a person would write instead, the nearest first."""

_DEVICE = re.compile(r"\b(?:cuda|xpu|mps|hpu|mtia|npu|privateuseone)(?::\d+)?\b")


@dataclass(frozen=True, slots=True)
class Cast:
    """Give inputs of dtype `old` the dtype `new`: one by name, or all, and then in calls too."""

    old: str
    new: str
    name: str = ""

    def apply(self, draft: Draft) -> Draft:
        program = draft.program
        changes = {
            node.name: replace(node, spec=self.cast(node.spec))
            for node in program.inputs
            if node.spec is not None and self.name in ("", node.name)
        }
        if not self.name:
            changes |= {node.name: with_mapped(node, self.written) for node in program.calls}
        return replace(draft, program=program.replace_nodes(changes))

    def cast(self, spec: Spec) -> Spec:
        if isinstance(spec, Sequence):
            return Sequence(tuple(self.cast(item) for item in spec.items))
        if not isinstance(spec, Tensor):
            return spec
        parts = tuple((name, self.cast(part)) for name, part in spec.parts)
        dtype = self.new if spec.dtype == self.old else spec.dtype
        form = spec.form.replace(f"torch.{self.old}", f"torch.{self.new}") if parts else spec.form
        return replace(spec, dtype=dtype, form=form, parts=parts)  # type: ignore[arg-type]

    def written(self, arg: Arg) -> Arg:
        return Atom(f"torch.{self.new}") if arg == Atom(f"torch.{self.old}") else arg

    def __str__(self) -> str:
        return f"{self.name + ': ' if self.name else ''}{self.old} -> {self.new}"


class Dtypes(TriedFirst):
    """float32 and int64."""

    name = "dtypes"
    summary = "inputs become float32 or int64"
    example = "torch.randn(2, dtype=torch.bfloat16)  ->  torch.randn(2)"

    def edits(self, draft: Draft) -> Iterator[Edit]:
        by_dtype: dict[str, list[str]] = {}
        for node in draft.program.inputs:
            for dtype in dict.fromkeys(spec.dtype for spec in tensors(node.spec)):
                by_dtype.setdefault(dtype, []).append(node.name)
        for old, names in by_dtype.items():
            for new in PLAINER.get(old, ()):
                yield Cast(old, new)
                if len(names) > 1:
                    yield from (Cast(old, new, name) for name in names)


@dataclass(frozen=True, slots=True)
class ToCpu:
    """Everything on the CPU."""

    device: str

    def apply(self, draft: Draft) -> Draft:
        program, context = draft.program, draft.context
        changes = {
            node.name: replace(node, spec=_on_cpu(node.spec))
            for node in program.inputs
            if node.spec is not None
        }
        changes |= {node.name: with_mapped(node, _cpu_written) for node in program.calls}
        around = tuple(_DEVICE.sub("cpu", text) for text in context.around)
        setup = tuple(_DEVICE.sub("cpu", text) for text in context.setup)
        return Draft(program.replace_nodes(changes), replace(context, around=around, setup=setup))

    def __str__(self) -> str:
        return f"{self.device} -> cpu"


class Devices(TriedFirst):
    """The CPU, which everybody has."""

    name = "devices"
    summary = "everything on the CPU"
    example = 'torch.randn(2, device="cuda")  ->  torch.randn(2)'

    def edits(self, draft: Draft) -> Iterator[Edit]:
        devices = [spec.device for node in draft.program.inputs for spec in tensors(node.spec)]
        other = next((device for device in devices if device not in ("cpu", "meta")), None)
        if other is not None:
            yield ToCpu(other)


def _on_cpu(spec: Spec) -> Spec:
    if isinstance(spec, Sequence):
        return Sequence(tuple(_on_cpu(item) for item in spec.items))
    if not isinstance(spec, Tensor):
        return spec
    parts = tuple((name, _on_cpu(part)) for name, part in spec.parts)
    form = _DEVICE.sub("cpu", spec.form) if parts else spec.form
    return replace(spec, device="cpu", form=form, parts=parts)  # type: ignore[arg-type]


def _cpu_written(arg: Arg) -> Arg:
    if isinstance(arg, Atom):
        return Atom(_DEVICE.sub("cpu", arg.text))
    if isinstance(arg, str) and _DEVICE.fullmatch(arg):
        return "cpu"
    return arg
