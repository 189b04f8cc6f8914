"""`flex_attention`: as a user calls it, and the operator that this comes down to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from torchcrux.emit.calls import argument, parts_of, texts
from torchcrux.emit.function import Around, Written, given, nested
from torchcrux.program.ir import Atom, Body, Node

Names: TypeAlias = Mapping[str, str]

FLEX_ATTENTION = "torch.nn.attention.flex_attention.flex_attention"
BLOCK = 128
"""Rows and columns of a block of a mask, unless said otherwise."""

_SCORED = ("score", "b", "h", "q_idx", "kv_idx")
"""What a function that changes a score is given, as the documentation of PyTorch calls it."""


def raw_flex_attention(node: Node, names: Names, around: Around) -> Written:
    query, key, value, score, block_mask, scale, options, free, mask_free = parts_of(node)
    score_mod, mask_mod = around.fresh("score_mod"), around.fresh("mask_mod")
    *facts, mask = block_mask
    lines = [
        *nested(score_mod, score, around, texts(free, names)),
        *nested(mask_mod, mask, around, texts(mask_free, names)),
    ]
    whole = (query, key, value, Atom(score_mod), (*facts, Atom(mask_mod)), scale, options)
    return lines, f"torch.ops.higher_order.flex_attention({', '.join(texts(whole, names))})"


def flex_attention(node: Node, names: Names, around: Around) -> Written:
    query, key, value, score, free, mask, mask_free = parts_of(node)
    module, _, name = FLEX_ATTENTION.rpartition(".")
    imported = [name] if mask is None else ["create_block_mask", name]
    around.imports[f"from {module} import {', '.join(imported)}"] = None
    lines: list[str] = []
    parts = [*texts((query, key, value), names)]
    keywords = dict(node.kwargs)
    block_size = keywords.pop("BLOCK_SIZE", None)
    if score is not None:
        written, score_mod = given("score_mod", score, around, texts(free, names), _SCORED)
        lines += written
        parts.append(f"score_mod={score_mod}")
    if mask is not None:
        written, made = _block_mask(mask, texts(mask_free, names), parts[:2], around)
        size = "" if block_size is None else f", BLOCK_SIZE={argument(block_size, names)}"
        block_mask = around.fresh("block_mask")
        lines += [*written, f"{block_mask} = {made}{size})"]
        parts.append(f"block_mask={block_mask}")
    parts += [f"{key}={argument(one, names)}" for key, one in keywords.items()]
    return lines, f"flex_attention({', '.join(parts)})"


def _block_mask(
    mask: Body, free: tuple[str, ...], operands: Sequence[str], around: Around
) -> tuple[list[str], str]:
    """Of batches and heads only as many as the mask looks at."""
    lines, mask_mod = given("mask_mod", mask, around, free, _SCORED[1:])
    query, key = operands
    batch, head = (node.name for node in mask.program.inputs[:2])
    used = {name for call in mask.program.calls for name in call.references()}
    sizes = [
        f"{query}.size(0)" if batch in used else "None",
        f"{query}.size(1)" if head in used else "None",
        f"{query}.size(2)",
        f"{key}.size(2)",
    ]
    return lines, f"create_block_mask({mask_mod}, {', '.join(sizes)}, device={query}.device"


def is_raw_flex_attention(node: Node) -> bool:
    return isinstance(node.args[3], Body) and isinstance(parts_of(node)[4][-1], Body)
