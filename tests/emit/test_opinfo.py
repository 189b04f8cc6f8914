"""Operators that PyTorch tests come back from a script as they were: a sample of all of them.

`bench/opinfo.py` runs the others, more samples and more dtypes.
"""

from __future__ import annotations

import functools

import pytest
import torch
from roundtrip import Differs, DoesNotCompile, Obstacle, round_trip, samples

from torchcrux.capturing.spelling import Spelling

SHARDS = 8
STEP = 3  # every third operator
LOST = {
    "as_strided.partial_views": "the storage behind a view is not captured",
}
"""Operators that do not come back, and why not."""


@functools.cache
def spelling():
    return Spelling()


def outcome(op, dtype):
    args, kwargs = next(samples(op, dtype, 1), ((), {}))
    if not args:
        return ""
    try:
        round_trip(lambda *a, **k: op.op(*a, **k), *args, spelling=spelling(), **kwargs)
    except DoesNotCompile:
        return ""
    except (Differs, Obstacle) as lost:
        return str(lost)
    return ""


@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.filterwarnings("ignore")
def test_operators_come_back(shard):
    from torch.testing._internal.common_methods_invocations import op_db

    chosen = sorted(op_db, key=lambda op: (op.name, op.variant_test_name))
    lost, tried = {}, 0
    for i, op in enumerate(chosen[shard :: SHARDS * STEP]):
        supported = op.supported_dtypes("cpu")
        wanted = [torch.float32, torch.int64, torch.bool, torch.complex64]
        wanted = wanted[i % 4 :] + wanted[: i % 4] if i % 2 else wanted
        dtype = next((one for one in wanted if one in supported), None)
        if dtype is None:
            continue
        torch.manual_seed(0)
        name = ".".join(filter(None, (op.name, op.variant_test_name)))
        found = outcome(op, dtype)
        tried += 1
        if found and name not in LOST:
            lost[name] = found
    assert not lost
    assert tried > 20
