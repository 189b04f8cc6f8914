"""The switches of `torch.backends`: a script that sets them is caught with them."""

from __future__ import annotations

import pytest
import torch

from torchcrux import global_flags
from torchcrux._torch import settable_flags


@pytest.fixture(autouse=True)
def as_before():
    put_back = global_flags.kept()
    with settable_flags():
        yield
    put_back()


def test_defaults_are_not_told():
    assert global_flags.statements() == []


@pytest.mark.parametrize(
    "statement",
    [
        "torch.backends.cudnn.benchmark = True",
        "torch.backends.mkldnn.enabled = False",
        "torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False",
        "torch.backends.cuda.enable_flash_sdp(False)",
        'torch.set_float32_matmul_precision("medium")',
        "torch.backends.cudnn.allow_tf32 = False",
        'torch.backends.mkldnn.conv.fp32_precision = "bf16"',
    ],
)
def test_a_switch_is_told_as_it_was_set(statement):
    exec(statement)
    told = global_flags.statements()
    assert statement in told
    before = dict(vars_of_precision())
    global_flags_reset()
    for line in told:
        exec(line)
    assert dict(vars_of_precision()) == before


def global_flags_reset():
    torch.backends.mkldnn.conv.fp32_precision = "none"


def vars_of_precision():
    return [(name, global_flags.precision(name)) for name in global_flags.PRECISIONS]


def test_products_on_a_cpu_are_of_all_bits_unless_said_otherwise():
    assert global_flags.product_bits("cpu") == {}
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"
    assert global_flags.product_bits("cpu") == {"matmul": 7}


def test_convolutions_on_cuda_may_be_short_by_default():
    assert global_flags.product_bits("cuda") == {"conv": 10, "rnn": 10}
    torch.backends.cudnn.allow_tf32 = False
    assert global_flags.product_bits("cuda") == {}
    torch.set_float32_matmul_precision("high")
    assert global_flags.product_bits("cuda") == {"matmul": 10}


def test_what_is_kept_can_be_put_back_where_setting_is_forbidden(monkeypatch):
    put_back = global_flags.kept()
    torch.backends.mkldnn.enabled = False
    monkeypatch.setattr(torch.backends, "__allow_nonbracketed_mutation_flag", False)
    put_back()
    assert torch.backends.mkldnn.enabled
