"""Correct programs, compiled by Inductor, whose numbers differ from eager's within what is right."""

from __future__ import annotations

import pytest

from torchcrux.capturing.script import Ending, run_script

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("warm_start")]

HEAD = """
import torch
import torch.nn.functional as F

torch.manual_seed(0)
x = torch.randn(8, 20)
"""

PLAIN = """
ties = torch.randint(0, 3, (8, 20)).float()
bag, table = torch.randint(0, 10, (30,)), torch.randn(10, 20)
buffer = torch.zeros(20)

def topk_with_ties(x):
    return torch.topk(ties + 0 * x, 5, dim=1).indices.sum() + x.sum()

def argmax_with_ties(x):
    return torch.argmax((x * 3).round(), 1), torch.argmax(F.softmax(x, -1), 1)

def sort_with_duplicates(x):
    return torch.sort((x * 2).round(), stable=True)

def dropout(x):
    return F.dropout(x, 0.5, True).sin()

def softmax_of_infinities(x):
    return F.softmax(x.masked_fill(x < 0, -float("inf")), -1)

def integer_division(x):
    return torch.div(x * 10, 3, rounding_mode="floor").long() // 2

def half_cumsum(x):
    return torch.cumsum(x.half(), 1)

def layer_norm_far_from_zero(x):
    return F.layer_norm(x + 1e4, (20,))

def sampling(x):
    return torch.randn(4, 5) + x[:4, :5], torch.multinomial(x.softmax(-1), 3)

def complex_numbers(x):
    return torch.view_as_real(torch.fft.fft(x) * torch.complex(x, x))

def empty_and_scalar(x):
    return x[:0].sum(), x[0, 0].exp(), x.sum() > 0

def embedding_bag(x):
    return F.embedding_bag(bag, table, torch.tensor([0, 4, 20])) + x[:3]

def buffer_in_place(x):
    buffer.add_(x.mean(0))
    return buffer * 2

def thresholds(x):
    return x.softmax(-1) > 0.05, x.topk(3).indices

def aliases(x):
    flat = x.view(-1)
    return flat, flat[:4]

for function in (
    topk_with_ties, argmax_with_ties, sort_with_duplicates, dropout, softmax_of_infinities,
    integer_division, half_cumsum, layer_norm_far_from_zero, sampling, complex_numbers,
    empty_and_scalar, embedding_bag, buffer_in_place, thresholds, aliases,
):
    torch.compile(function)(x)
"""

DEEP = """
def deep(x):
    for _ in range(40):
        x = torch.tanh(x @ x.t() @ x * 0.1)
    return x

def bfloat16(x):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return F.gelu(x @ x.t()).sum(1)

def float16(x):
    with torch.autocast("cpu", dtype=torch.float16):
        return (x @ x.t()).softmax(-1)

for function in (deep, bfloat16, float16):
    torch.compile(function)(x)

norm = torch.nn.BatchNorm1d(20)
torch.compile(norm)(x.requires_grad_()).sum().backward()
model = torch.nn.Sequential(torch.nn.Linear(20, 32), torch.nn.GELU(), torch.nn.Linear(32, 1))
torch.compile(model)(x).square().mean().backward()
"""

WRONG = """
import torch._inductor.config

torch._inductor.config.cpp.inject_relu_bug_TESTING_ONLY = "accuracy"
torch.compile(lambda x: F.relu(x) + 1)(x)
"""


def test_what_is_right_raises_no_alarm(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(HEAD + PLAIN + DEEP)
    caught = run_script(str(path), (), check="accuracy", folder=tmp_path / "cases")
    assert caught.ending is Ending.PASSED, caught.message
    assert not caught.broken
    assert caught.graphs >= 20


def test_what_is_wrong_raises_one(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(HEAD + WRONG)
    caught = run_script(str(path), (), check="accuracy", folder=tmp_path / "cases")
    assert caught.ending is Ending.CAUGHT
    assert caught.case.failure.kind.value == "accuracy"
