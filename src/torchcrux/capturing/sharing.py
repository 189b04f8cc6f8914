"""Which inputs of a graph lie in the same memory, and where in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch

from torchcrux.capturing.clones import base_among
from torchcrux.capturing.forms import is_fake
from torchcrux.program.ir import Program
from torchcrux.program.spec import Tensor


def with_memory(program: Program, tensors: Mapping[str, torch.Tensor]) -> Program:
    """`program`, whose inputs that share memory or begin inside of theirs say so."""
    groups: dict[tuple[torch.device, torch.dtype, int], list[str]] = {}
    for node in program.inputs:
        tensor, spec = tensors.get(node.name), node.spec
        if tensor is None or not isinstance(spec, Tensor) or spec.form or spec.lengths:
            continue
        if spec.lost or spec.conj or is_fake(tensor) or tensor.layout is not torch.strided:
            continue
        place = tensor.untyped_storage().data_ptr()
        if place:
            groups.setdefault((tensor.device, tensor.dtype, place), []).append(node.name)
    changes = {}
    for names in groups.values():
        bases = {base_among(tensors[name], [tensors[one] for one in names]) for name in names}
        (base,) = bases - {None} if len(bases) == 2 else (None,)
        for i, name in enumerate(names):
            node = program.by_name[name]
            memory = names[0] if len(names) > 1 else ""
            offset = int(tensors[name].storage_offset())
            if isinstance(node.spec, Tensor) and (memory or offset):
                spec = replace(node.spec, memory=memory, offset=offset, base=i == base)
                changes[name] = replace(node, spec=spec)
    return program.replace_nodes(changes) if changes else program
