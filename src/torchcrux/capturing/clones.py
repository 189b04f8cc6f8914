"""Copies of the inputs of a graph that behave as the originals do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from torchcrux import _torch


def clone_inputs(values: Sequence[Any]) -> list[Any]:
    """Copy tensors with their strides, dtype, requires_grad and leafness; inputs that share memory
    share memory in the copy. Other values are handed through."""
    storages: dict[tuple[torch.device, int], torch.Tensor] = {}
    return [
        _clone(value, storages) if isinstance(value, torch.Tensor) else value for value in values
    ]


def _clone(
    tensor: torch.Tensor, storages: dict[tuple[torch.device, int], torch.Tensor]
) -> torch.Tensor:
    if tensor.layout is not torch.strided or type(tensor) not in (
        torch.Tensor,
        torch.nn.Parameter,
        torch.nn.Buffer,
    ):
        return tensor.detach().clone().requires_grad_(tensor.requires_grad)
    with torch.no_grad():
        storage = tensor.untyped_storage()
        key = (tensor.device, storage.data_ptr())
        if key not in storages or storage.data_ptr() == 0:
            whole = torch.empty(0, dtype=torch.uint8, device=tensor.device)
            whole.set_(storage.clone())  # type: ignore[no-untyped-call]
            storages[key] = whole
        made = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
        made.set_(
            storages[key].untyped_storage(),
            tensor.storage_offset(),
            tensor.size(),
            tensor.stride(),
        )
        if tensor.is_conj():
            made = made.conj()
        if tensor.is_neg():
            made = _torch.neg_view(made)
    if not tensor.requires_grad:
        return made
    leaf = made.requires_grad_()
    if tensor.is_leaf:
        return leaf
    with torch.enable_grad():
        if overlaps(leaf):
            return leaf.view_as(leaf)  # nobody can change it in place
        made = torch.empty_strided(leaf.size(), leaf.stride(), dtype=leaf.dtype, device=leaf.device)
        return made.copy_(leaf)


def overlaps(tensor: torch.Tensor) -> bool:
    """Whether several elements have one place in memory."""
    places = sorted(zip(tensor.stride(), tensor.size(), strict=True))
    end = 0
    for stride, size in places:
        if size > 1:
            if stride <= end:
                return True
            end += stride * (size - 1)
    return False
