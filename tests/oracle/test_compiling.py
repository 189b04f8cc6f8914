"""A compiler's cache that is a child's own while it works, and of all afterwards."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time

import pytest
import torch

from torchcrux import machine
from torchcrux.oracle._torch import look_up_no_graphs
from torchcrux.oracle.compiling import CACHE_DIR, link_all, own_compiler
from torchcrux.oracle.failure import Failure, Kind, Stage
from torchcrux.oracle.question import JUDGE
from torchcrux.pools import PRELOAD
from torchcrux.run import Pool, Task, processes
from torchcrux.torch_modules import FUNCTORCH_CONFIG, INDUCTOR_CONFIG

EXPECTED = Failure(Kind.RUNTIME_ERROR, Stage.RUN, (("RuntimeError", "it fails"),), ())


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    """The servers that tests share are nothing that a compiler has started."""
    found = processes.descendants
    others = {*found(os.getpid())}
    monkeypatch.setattr(
        processes, "descendants", lambda pid: [one for one in found(pid) if one not in others]
    )


def filled(folder, **files):
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def held(folder):
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_files_are_shared_and_locks_and_whole_graphs_are_not(tmp_path):
    source = filled(tmp_path / "source", ab__kernel="new", cd__other="other", locks__kernel="")
    filled(source, fxgraph__ab__cd="graph", aotautograd__ab__cd="graph")
    target = filled(tmp_path / "target", ab__kernel="old")
    link_all(source, target)
    assert held(target) == {"ab/kernel": "old", "cd/other": "other"}


def test_a_cache_that_is_not_there_yet_shares_nothing(tmp_path):
    link_all(tmp_path / "nowhere", tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_what_a_compiler_still_writes_is_left_alone(tmp_path):
    source = filled(tmp_path / "source", ab__kernel="half of")
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as compiler:
        link_all(source, tmp_path / "target", settled=True)
        assert held(tmp_path / "target") == {}
        compiler.kill()
    link_all(source, tmp_path / "target", settled=True)
    assert held(tmp_path / "target") == {"ab/kernel": "half of"}


@pytest.mark.skipif(torch.accelerator.is_available(), reason="children keep what they have loaded")
def test_inside_there_is_a_cache_in_the_current_folder(tmp_path, monkeypatch):
    shared = filled(tmp_path / "shared", ab__kernel="kernel")
    (tmp_path / "child").mkdir()
    monkeypatch.chdir(tmp_path / "child")
    monkeypatch.setenv(CACHE_DIR, str(shared))
    with own_compiler():
        own = tmp_path / "child" / "cache"
        assert os.environ[CACHE_DIR] == str(own)
        assert held(own) == {"ab/kernel": "kernel"}
        filled(own, cd__fresh="fresh", locks__fresh="")
    assert os.environ[CACHE_DIR] == str(shared)
    assert held(shared) == {"ab/kernel": "kernel", "cd/fresh": "fresh"}


@pytest.mark.skipif(torch.accelerator.is_available(), reason="children keep what they have loaded")
def test_without_a_shared_cache_nothing_changes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(CACHE_DIR, raising=False)
    with own_compiler():
        assert CACHE_DIR not in os.environ
    assert list(tmp_path.iterdir()) == []


def test_graphs_are_compiled_where_the_cache_cannot_be_split():
    inductor, functorch = map(importlib.import_module, (INDUCTOR_CONFIG, FUNCTORCH_CONFIG))
    with inductor.patch(fx_graph_cache=True), functorch.patch(enable_autograd_cache=True):
        look_up_no_graphs()
        assert not (inductor.fx_graph_cache or functorch.enable_autograd_cache)


@pytest.fixture
def cache(tmp_path):
    """One that holds what is known of this machine, and nothing that was compiled."""
    machine.recall(tmp_path)
    return str(tmp_path)


@pytest.mark.real
def test_what_is_compiled_first_registers_the_patterns_though_a_cache_holds_its_graph(cache):
    text = """
import torch
from torchcrux.oracle import _torch
from torch._inductor.fx_passes import joint_graph
torch.compile(_torch._small)(torch.ones(2, 3))
joint_graph.lazy_init.cache_clear()
torch.compiler.reset()
torch.compile(_torch._small)(torch.ones(2, 3))
assert joint_graph.lazy_init.cache_info().currsize == 0
_torch.compile_once_with_inductor()
assert joint_graph.lazy_init.cache_info().currsize == 1
"""
    environment = {**os.environ, CACHE_DIR: cache}
    subprocess.run([sys.executable, "-c", text], env=environment, check=True)


@pytest.mark.real
def test_several_compilers_at_once_compile_what_one_compiles(cache):
    """In an interpreter of its own: threads would stay in this one."""
    text = """
import sys, threading, torch
from torchcrux.oracle._torch import compile_side_by_side
compile_side_by_side(3)
def f(x, y):
    return torch.sin(x) @ y, torch.cos(y) @ x, torch.softmax(x @ y, 0)
x, y = torch.randn(9, 9), torch.randn(9, 9)
torch.testing.assert_close(torch.compile(f)(x, y), f(x, y))
assert any("ThreadPool" in thread.name for thread in threading.enumerate())
assert "torch._inductor.compile_worker.subproc_pool" not in sys.modules or not (
    torch._inductor.async_compile._pool_set
)
"""
    environment = {**os.environ, CACHE_DIR: cache}
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", text], env=environment, capture_output=True)
    assert done.returncode == 0, (done.stderr.decode(), time.monotonic() - started)


@pytest.mark.real
def test_what_was_compiled_before_hides_no_failure(cache):
    """AOTAutograd's cache does not ask whether inputs share memory, and finds what is right where
    they do not."""
    text = """
import torch

def f(x, y):
    x.add_(100)
    return y[0]

base = torch.zeros(24)
x, y = base.view(4, 6), base[6:].view(3, 6)
torch.compile(f)({})
"""
    payload = {"expected": EXPECTED.to_json(), "expected_names": [], "renamed": []}
    with Pool(jobs=1, preload=PRELOAD, env={CACHE_DIR: cache}) as pool:
        tasks = [
            Task(JUDGE, {**payload, "text": text.format(inputs)})
            for inputs in ("x, y.clone()", "x, y")
        ]
        apart, together = (outcome.value["verdict"] for outcome in pool.run(tasks))
    assert (apart, together) == ("passes", "different")
