"""Copies of the inputs of a graph that behave as the originals do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from torchcrux import _torch
from torchcrux.capturing.subclasses import rebuilt


def clone_inputs(values: Sequence[Any]) -> list[Any]:
    """Copy tensors with their strides, dtype, requires_grad and leafness; inputs that share memory
    share memory in the copy, and a view of another input is one in the copy, too. Other values are
    handed through."""
    storages: dict[tuple[torch.device, int], torch.Tensor] = {}
    copies = [
        _clone(value, storages) if isinstance(value, torch.Tensor) else value for value in values
    ]
    for i, value in enumerate(values):
        base = base_among(value, values)
        if base is not None:
            copies[i] = copies[base].as_strided(
                value.size(), value.stride(), value.storage_offset()
            )
    return copies


def base_among(value: Any, values: Sequence[Any]) -> int | None:
    """The position of the tensor among `values` that `value` is a view of; None as well if there is
    more to it than its place in memory."""
    if not _is_part(value) or value.is_inference() or not value._is_view():
        return None
    found = next((i for i, one in enumerate(values) if one is value._base), None)
    if found is None or not _is_part(values[found]) or values[found].dtype is not value.dtype:
        return None
    return found


def _clone(
    tensor: torch.Tensor, storages: dict[tuple[torch.device, int], torch.Tensor]
) -> torch.Tensor:
    around = rebuilt(tensor, lambda part: _clone(part, storages))
    if around is not None:
        return around
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


def converted(values: Sequence[Any], convert: Callable[[Any], Any]) -> list[Any]:
    """``convert(value)`` of each, where tensors that share memory share it in the result as well.

    `convert` copies a tensor and may change its dtype.
    """
    whole: dict[tuple[Any, ...], list[torch.Tensor]] = {}
    for value in values:
        if _is_part(value):
            whole.setdefault(_memory(value), []).append(value)
    made: dict[tuple[Any, ...], torch.Tensor] = {}
    for key, parts in whole.items():
        if len(parts) > 1:
            flat = torch.empty(0, dtype=parts[0].dtype, device=parts[0].device)
            made[key] = convert(flat.set_(parts[0].untyped_storage()))
    return [
        made[_memory(value)].as_strided(value.size(), value.stride(), value.storage_offset())
        if _is_part(value) and _memory(value) in made
        else convert(value)
        for value in values
    ]


def _is_part(value: Any) -> bool:
    """Whether it may be a part of memory that several plain tensors share."""
    if not isinstance(value, torch.Tensor):
        return False
    plain = type(value) in (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer)
    if not plain or value.layout is not torch.strided or value.is_quantized:
        return False
    return not (value.requires_grad or value.is_conj() or value.is_neg())


def _memory(tensor: torch.Tensor) -> tuple[Any, ...]:
    return tensor.device, tensor.dtype, tensor.untyped_storage().data_ptr()


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
