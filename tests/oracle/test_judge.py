"""Verdicts on whole scripts, where a candidate may stop before it is compiled in full."""

import os
from dataclasses import replace
from unittest import mock

import pytest
import torch

from torchcrux.oracle._torch import STOP
from torchcrux.oracle.judge import execute, judge
from torchcrux.oracle.uncompiled import uncompiled

SCRIPT = """
import torch
from torch._inductor import lowering

def refuse(x):
    raise RuntimeError("no cosine")

lowering.lowerings[torch.ops.aten.cos.default] = refuse

def f(x):
    return torch.{operation}(x).sum()

x = torch.ones(3, requires_grad={grad})
torch.compile(f)(x){backward}
"""


@pytest.fixture
def judged(tmp_path, monkeypatch):
    from torch._inductor import lowering

    monkeypatch.chdir(tmp_path)
    compiled = []

    def run(cmd_line, *rest, **kwargs):
        compiled.append(cmd_line)
        raise RuntimeError("a C++ compiler was called")

    def ask(text, below="", without=""):
        torch.compiler.reset()
        cache = {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
        cosine = lowering.lowerings[torch.ops.aten.cos.default]
        with (
            mock.patch.dict(os.environ, cache),
            mock.patch("torch._inductor.codecache.CppCodeCache.load_async", run),
        ):
            try:
                _, expected = execute(script("cos", "backward" in text), tmp_path / "first.py")
                frames = [one for one in expected.frames if not without or without not in one]
                frames += filter(None, [below])
                expected = replace(expected, frames=tuple(frames))
                compiled.clear()
                payload = {"expected": expected.to_json(), "expected_names": [], "renamed": []}
                torch.compiler.reset()
                answer = judge({"text": text, **payload})
            finally:
                lowering.lowerings[torch.ops.aten.cos.default] = cosine
        return answer["verdict"], len(compiled)

    return ask


def script(operation, grad=False):
    backward = ".backward()" if grad else ""
    return SCRIPT.format(operation=operation, grad=grad, backward=backward)


def test_what_a_failure_leaves_in_the_dispatcher_is_undone(tmp_path):
    text = (
        "import torch\n"
        "torch._C._dispatch_tls_set_dispatch_key_excluded('AutocastCPU', True)\n"
        "raise ValueError('in the middle')\n"
    )
    before = str(torch._C._dispatch_tls_local_exclude_set())
    _, failure = execute(text, tmp_path / "repro.py")
    assert failure.message == "in the middle"
    assert str(torch._C._dispatch_tls_local_exclude_set()) == before


def test_what_is_lowered_passes_without_a_compiler_of_kernels(judged):
    assert judged(script("exp")) == ("passes", 0)
    assert judged(script("exp", grad=True)) == ("passes", 0)


def test_what_is_not_lowered_fails(judged):
    assert judged(script("cos")) == ("same", 0)


def test_a_failure_in_the_backward_is_found_behind_a_stopped_forward(judged):
    assert judged(script("sin", grad=True)) == ("same", 0)


def test_what_fails_otherwise_behind_a_stopped_graph_is_run_in_full(judged):
    verdict, compiled = judged(script("exp") + "raise ValueError('later')\n")
    assert (verdict, compiled > 0) == ("invalid", True)


def test_a_failure_that_arose_in_a_kernel_is_looked_for_there(judged):
    verdict, compiled = judged(script("exp"), below=STOP)
    assert (verdict, compiled > 0) == ("different", True)


def test_a_failure_of_a_pass_before_all_lowering_needs_no_kernel(judged):
    assert judged(script("exp"), without="graph.py:") == ("passes", 0)


SCANS = """
import torch
from torch._higher_order_ops.scan import scan

def f(x, w):
    return scan(lambda carry, row: (carry * w, carry.clone()), x[0], x)[1]

x, w = torch.ones(2, 3, requires_grad=True), torch.ones(3, requires_grad=True)
torch.autograd.grad(torch.compile(f, backend="eager")(x, w).sum(), (x, w))
"""


def test_what_eager_compiles_by_itself_it_does_without_a_compiler_as_well(tmp_path):
    with uncompiled():
        _, failure = execute(SCANS, tmp_path / "repro.py")
        compiled = torch.compile(lambda x: x, backend="no such backend")
    assert failure is None
    assert compiled(1) == 1
