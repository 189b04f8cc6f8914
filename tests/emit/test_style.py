"""Emitted scripts need no formatting, and a linter has nothing to say about them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from torchcrux.capturing.lower import lower
from torchcrux.emit.script import script
from torchcrux.program.context import Backend, Context

RUFF = shutil.which("ruff", path=Path(sys.executable).parent)
pytestmark = pytest.mark.skipif(RUFF is None, reason="needs ruff")

SOURCE = """
from functools import partial

import torch.fx


def mine(gm, example_inputs, strict):
    return gm.forward


backend_of_mine = partial(mine, strict=True)
"""


class Twice(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * 2

    @staticmethod
    def backward(ctx, grad):
        return grad * 2


@torch.compiler.nested_compile_region
def region(x):
    return torch.relu(x) + 1


class Functions:
    def short(x):
        return torch.relu(x)

    def several_results(x):
        a, b = x.split(2)
        return a @ b.t(), -a, a**2, b[:, None, ..., 1]

    def unused_values(x):
        y = x.clone()
        y.add_(1)
        y[0] = 2
        y *= 3
        torch.sin(x)
        return y

    def scopes(x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = x @ x
        with torch.no_grad():
            z = y * 2
        return y + z

    def long_calls(x):
        y = F.layer_norm(x, (4,), torch.ones(4), torch.zeros(4), 1.0000000000000002e-05)
        z = F.scaled_dot_product_attention(y, x, x, attn_mask=None, dropout_p=0.0, is_causal=True)
        return torch.cat([x, y, z, x, y, z, x, y, z, x, y, z, x, y, z, x, y, z, x, y, z], dim=-1)

    def many_results(x):
        return tuple(torch.nn.functional.hardswish(x * i) for i in range(12))

    def cond(x):
        return torch.cond(x.sum() > 0, lambda x: x.sin(), lambda x: x.cos() * 2, (x,)) + 1

    def cond_in_a_scope(x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = x @ x
            return torch.cond(y.sum() > 0, lambda x: x @ x, lambda x: x @ x.cos(), (x,)) + y

    def while_loop(x):
        return torch.while_loop(
            lambda i, x: i < 3, lambda i, x: (i + 1, x * 2), (torch.tensor(0), x)
        )

    def checkpoint(x):
        return checkpoint(lambda x: torch.sigmoid(x @ x).relu(), x, use_reentrant=False)

    def autograd_function(x):
        return Twice.apply(x) + 1

    def nested_region(x):
        return region(x) + region(x * 2)

    def vmap(x):
        return torch.vmap(lambda a: a.sin().sum())(x)


CONTEXTS = {
    "plain": Context(Backend("inductor")),
    "accuracy": Context(Backend("aot_eager")),
    "everything": Context(
        Backend("backend_of_mine", source=SOURCE),
        mode="reduce-overhead",
        options=(("a_rather_long_name_of_an_option", True), ("another_one", 'with "quotes"')),
        dynamic=True,
        fullgraph=True,
        grad=False,
        around=('torch.autocast("cpu", dtype=torch.bfloat16)',),
        config=("torch._dynamo.config.assume_static_by_default = False",),
        setup=('torch.set_float32_matmul_precision("high")',),
    ),
}


@pytest.fixture(scope="module")
def programs():
    """Each function as Dynamo captures it."""
    found = {}
    for name, function in vars(Functions).items():
        if name[0] == "_":
            continue
        torch._dynamo.reset()
        graphs = []

        def keep(gm, inputs, graphs=graphs):
            graphs.append(lower(gm, inputs).program)
            return gm

        x = torch.ones(4, 4, requires_grad=name in ("checkpoint", "autograd_function"))
        torch.compile(function, backend=keep, fullgraph=True)(x)
        found[name] = graphs[0]
    return found


@pytest.mark.parametrize("context", CONTEXTS)
def test_scripts_are_clean(context, programs, tmp_path):
    for name, program in programs.items():
        note = "RuntimeError: a message\n\n  of two lines" if context == "plain" else ""
        text = script(program, CONTEXTS[context], accuracy=context == "accuracy", note=note)
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        assert not any(node.obstacle for node in program.nodes)
    for command in (
        ["format", "--isolated", "--diff", "."],
        ["check", "--isolated", "--select", "F,E,I", "--output-format", "concise", "."],
    ):
        done = subprocess.run(
            [str(RUFF), *command], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
