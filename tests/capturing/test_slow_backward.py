"""A compilation that takes too long ends the script; a backward is compiled at its first use."""

from __future__ import annotations

import pytest

from torchcrux.capturing.script import Ending
from torchcrux.oracle.failure import Kind

pytestmark = pytest.mark.usefixtures("warm_start")

BACKWARD = """
import time
import torch
from functorch.compile import make_boxed_func
from torch._dynamo.backends.common import aot_autograd

def slow(gm, inputs):
    time.sleep(1.2)
    return make_boxed_func(gm.forward)

backend = aot_autograd(
    fw_compiler=lambda gm, inputs: make_boxed_func(gm.forward), bw_compiler=slow
)
x = torch.ones(3, requires_grad=True)
torch.compile(lambda x: x.sin().exp().sum(), backend=backend)(x).backward()
print("not reached")
"""


def test_a_slow_compilation_of_a_backward_is_caught(scripts, capfd):
    found = scripts.run(BACKWARD, check="slow:1")
    assert found.ending is Ending.CAUGHT, found
    assert found.case.failure.kind is Kind.SLOW_COMPILE
    assert found.case.context.backward
    assert found.slowest >= 1.2
    assert "not reached" not in capfd.readouterr().out
