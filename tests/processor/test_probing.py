"""What a process beside the children finds out is waited for, by whoever wants to know."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from torchcrux import machine
from torchcrux.processor import _torch

SCRIPT = """
import hashlib, json, os, sys, time
from pathlib import Path
from torch._inductor import cpu_vec_isa
from torchcrux.processor import _torch

told = {}

def fails():
    raise OSError

for name, result in {"known": lambda: {"a program": True}, "failed": fails}.items():
    cache = Path(sys.argv[1], name, "cache")
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(cache)

    def probe():
        Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]).mkdir()
        time.sleep(0.5)
        return result()

    _torch.probe_inductor = probe
    _torch.probe_inductor_beside()
    told[name] = _torch._probed(cache)
told["nobody"] = _torch._probed(Path(sys.argv[1], "other", "cache"))

isa = cpu_vec_isa.VecAVX2()
built = []
key = f"{isa}: {hashlib.sha256(b'a program').hexdigest()}"
cpu_vec_isa.VecISA.check_build = lambda self, code: built.append(code) or True
_torch._probed = lambda cache: {key: False}
kept = [_torch.look_up_instruction_sets(Path("cache")) for _ in range(2)]
programs = ["a program", "another", "another"]
told["answers"] = [isa.check_build(program) for program in programs]
told["built"] = built
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    command = [sys.executable, "-c", SCRIPT, tmp_path_factory.mktemp("probing")]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def test_it_is_waited_for_and_read(told):
    assert told["known"] == {"a program": True}


def test_nothing_is_known_where_the_probe_failed_or_nobody_probes(told):
    assert told["failed"] == told["nobody"] == {}


def test_of_the_test_programs_only_those_are_built_whose_outcome_is_not_known(told):
    assert told["answers"] == [False, True, True]
    assert told["built"] == ["another"]


def test_only_test_programs_are_kept_of_a_cache_that_holds_more(tmp_path, monkeypatch):
    cache = tmp_path / "scratch" / "cache"
    (cache / "fxgraph").mkdir(parents=True)
    (cache / "fxgraph" / "graph").write_text("of the user's")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv(_torch.CACHE_DIR, str(cache))

    def probe():
        Path(os.environ[_torch.CACHE_DIR], "program").write_text("of the machine's")
        return {"a program": True}

    monkeypatch.setattr(_torch, "probe_instruction_sets", probe)
    assert _torch.probe_inductor() == {"a program": True}
    assert os.environ[_torch.CACHE_DIR] == str(cache)
    assert [file.name for file in machine.kept().iterdir()] == ["program"]
    assert [file.name for file in cache.with_name("constants").iterdir()] == ["program"]
    assert sorted(file.name for file in cache.iterdir()) == ["fxgraph", "program"]
