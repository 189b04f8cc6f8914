"""The commands as a user types them: exit status, what is printed, what is written."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from command_kit import command
from torchcrux.cli import main

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("warm_start")]

MODEL = """
import sys
import torch

class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = torch.nn.Linear(8, 16), torch.nn.Linear(16, 8)

    def forward(self, x):
        return x + self.down(torch.relu(self.up(x)))

torch.manual_seed(0)
model = torch.nn.Sequential(*(Block() for _ in range(4)))
x = torch.randn(2, 8)
print("arguments:", sys.argv[1:])
"""
COMPILE_ERROR = MODEL + 'torch.compile(model, backend="torchcrux_relu_compile_error")(x)\n'
OWN_ASSERTION = (
    MODEL
    + """
with torch.no_grad():
    out = torch.compile(model, backend="torchcrux_relu_accuracy_error")(x)
    torch.testing.assert_close(out, model(x))
"""
)
CORRECT = MODEL + 'torch.compile(model, backend="eager")(x)\n'


def torchcrux(folder, *args):
    """As typed, in a process of its own."""
    environment = {k: v for k, v in os.environ.items() if k != "TORCH_COMPILE_BACKEND"}
    return subprocess.run(
        command(*args, as_typed=True),
        cwd=folder,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=environment,
        timeout=300,
        check=False,
    )


def python(script, **environment):
    return subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=300,
        check=False,
    )


def result_of(folder):
    return json.loads((folder / "result.json").read_text())


@pytest.fixture(scope="module")
def caught(tmp_path_factory):
    """One reduction that several tests look at: its folder and what the command printed."""
    folder = tmp_path_factory.mktemp("caught")
    (folder / "train.py").write_text(COMPILE_ERROR)
    arguments = ("run", "--out", "out", "train.py", "--epochs", "3")
    run = torchcrux(folder, *arguments)
    assert run.returncode == 0, run.stderr
    return folder, run


def test_the_script_runs_as_it_would_without_us(caught):
    _, run = caught
    assert run.stdout == "arguments: ['--epochs', '3']\n"
    assert run.stderr.count("Traceback (most recent call last)") == 1
    assert "ReluCompileError" in run.stderr.split("torchcrux Caught")[0]


def test_the_repro_fails_by_itself_and_names_nothing_of_ours(caught):
    folder, _ = caught
    repro = folder / "out" / "repro.py"
    text = repro.read_text()
    imports = re.findall(r"^(?:import|from) (\S+)", text, re.MULTILINE)
    assert imports and all(name.split(".")[0] == "torch" for name in imports)
    assert "torchcrux" not in text.replace("torchcrux_relu_compile_error", "").replace(
        "torchcrux_faulty_backends", ""
    )
    run = python(repro)
    assert run.returncode == 1 and "ReluCompileError: relu cannot be compiled" in run.stderr


def test_the_repro_passes_with_another_backend(caught):
    folder, _ = caught
    run = python(folder / "out" / "repro.py", TORCH_COMPILE_BACKEND="eager")
    assert (run.returncode, run.stderr) == (0, "")


def test_result_json_keeps_its_contract(caught):
    folder, _ = caught
    result = result_of(folder / "out")
    assert result["schema"] == 1 and result["status"] == "reduced"
    assert result["failure"]["kind"] == "compile_error"
    assert result["failure"]["stage"] == "backend"
    assert result["failure"]["exception"] == "ReluCompileError"
    assert result["operations"] == {"captured": 16, "final": 1}
    assert result["elements"]["final"] <= 32
    assert result["verified_runs"] == 3 and result["minimal"] is True
    assert result["lines"] == len((folder / "out" / "repro.py").read_text().splitlines())
    assert result["queries"] > 0 and result["jobs"] >= 1 and result["different_failures"] == []
    (origin,) = result["origin"]
    assert Path(origin["file"]).name == "train.py" and "torch.relu" in origin["code"]
    assert result["versions"].keys() == {"torch", "python", "torchcrux"}
    assert result["files"]["repro"] == "repro.py"


def test_the_same_command_goes_on_and_asks_nothing_twice(caught):
    folder, _ = caught
    before = (folder / "out" / "repro.py").read_text()
    run = torchcrux(folder, "run", "--out", "out", "train.py", "--epochs", "3")
    assert run.returncode == 0 and run.stdout == ""
    assert result_of(folder / "out")["queries"] == 0
    assert (folder / "out" / "repro.py").read_text() == before


def test_another_command_does_not_overwrite_a_case(caught, run_here):
    folder, _ = caught
    run = run_here(folder, "run", "--out", "out", "train.py", "--epochs", "4")
    assert run.returncode == 2 and "another command" in run.stderr


def test_a_captured_case_is_reduced_elsewhere(caught, run_here):
    folder, _ = caught
    run = run_here(folder, "reduce", "--out", "again", "out/case")
    assert run.returncode == 0, run.stderr
    assert (folder / "again" / "repro.py").read_text() == (folder / "out" / "repro.py").read_text()


def test_verify_tells_the_same_from_another_and_from_no_failure(caught, run_here):
    folder, _ = caught
    text = (folder / "out" / "repro.py").read_text()
    run = run_here(folder, "verify", "out/repro.py")
    assert run.returncode == 0 and "same way" in run.stdout
    (folder / "out" / "fixed.py").write_text(text.replace("torch.relu(", "torch.tanh("))
    run = run_here(folder, "verify", "out/fixed.py")
    assert run.returncode == 1 and "no longer" in run.stdout
    (folder / "out" / "other.py").write_text("raise KeyError('x')\n")
    run = run_here(folder, "verify", "out/other.py")
    assert run.returncode == 3 and "KeyError" in run.stdout


def test_wrong_numbers_are_found_by_a_second_run(tmp_path, run_here):
    (tmp_path / "infer.py").write_text(OWN_ASSERTION)
    run = run_here(tmp_path, "run", "infer.py")
    assert run.returncode == 0, run.stderr
    folder = tmp_path / "torchcrux-out" / "infer-1"
    result = result_of(folder)
    assert result["failure"]["kind"] == "accuracy" and result["operations"]["final"] == 1
    assert "torch.testing.assert_close" in (folder / "repro.py").read_text()


def test_check_accuracy_finds_what_the_script_does_not_look_at(tmp_path, run_here):
    script = OWN_ASSERTION.replace("    torch.testing.assert_close(out, model(x))\n", "")
    (tmp_path / "infer.py").write_text(script)
    run = run_here(tmp_path, "run", "--check", "accuracy", "--out", "out", "infer.py")
    assert run.returncode == 0, run.stderr
    assert result_of(tmp_path / "out")["operations"]["final"] == 1


def test_a_module_with_neighbours_and_arguments(tmp_path):
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "backends.py").write_text(
        "class Unsupported(Exception):\n    pass\n\n\n"
        "def picky(gm, inputs):\n"
        "    for node in gm.graph.nodes:\n"
        "        if getattr(node.target, '__name__', '') == 'relu':\n"
        "            raise Unsupported('no kernel for relu')\n"
        "    return gm\n"
    )
    script = COMPILE_ERROR.replace(
        'backend="torchcrux_relu_compile_error"', "backend=picky"
    ).replace("import sys\n", "import sys\nfrom package.backends import picky\n")
    (package / "train.py").write_text(script)
    run = torchcrux(tmp_path, "run", "--out", "out", "-m", "package.train", "--fast")
    assert run.returncode == 0, run.stderr
    assert run.stdout == "arguments: ['--fast']\n"
    text = (tmp_path / "out" / "repro.py").read_text()
    assert "def picky(gm, inputs):" in text and "class Unsupported" in text
    assert result_of(tmp_path / "out")["operations"]["final"] == 1


def test_an_environment_variable_that_the_script_sets_is_kept_if_it_matters(tmp_path, run_here):
    script = COMPILE_ERROR.replace(
        'backend="torchcrux_relu_compile_error"', "backend=picky"
    ).replace(
        "import sys\n",
        "import os, sys\nos.environ['PICKY'] = 'yes'\nos.environ['UNRELATED'] = 'yes'\n\n\n"
        "def picky(gm, inputs):\n"
        "    for node in gm.graph.nodes:\n"
        "        if os.environ.get('PICKY') and getattr(node.target, '__name__', '') == 'relu':\n"
        "            raise NotImplementedError('no kernel for relu')\n"
        "    return gm\n",
    )
    (tmp_path / "train.py").write_text(script)
    run = run_here(tmp_path, "run", "--out", "out", "train.py")
    assert run.returncode == 0, run.stderr
    text = (tmp_path / "out" / "repro.py").read_text()
    assert 'os.environ["PICKY"] = "yes"' in text.split("import torch")[0]
    assert "UNRELATED" not in text


BETWEEN_GRAPHS = """import torch
f = torch.compile(lambda x: x + torch.compiler.is_compiling(), backend="eager")
raise SystemExit(int(f(torch.zeros(1))))
"""


@pytest.mark.parametrize(
    ("script", "status", "said"),
    [
        (None, 2, "There is no script"),
        ("def f(:\n", 2, "does not parse: line 1"),
        ("import torch\nraise ValueError('no data')\n", 1, "ValueError: no data"),
        (CORRECT + "sys.exit(7)\n", 1, "ended with status 7"),
        (CORRECT, 1, "Nothing failed"),
        ("print('hello')\n", 1, "compiled nothing"),
        ("name = input()\n", 1, "EOFError"),
        (BETWEEN_GRAPHS, 3, "There is no graph to reduce"),
    ],
    ids=[
        "missing",
        "unparsable",
        "fails before",
        "exits",
        "correct",
        "no torch",
        "waits",
        "dynamo",
    ],
)
def test_what_is_no_failure_of_a_compiler_is_said(tmp_path, script, status, said, run_here):
    if script is not None:
        (tmp_path / "script.py").write_text(script)
    run = run_here(tmp_path, "run", "--out", "out", "script.py")
    assert run.returncode == status, run.stderr
    assert said in run.stderr
    assert "torchcrux/" not in run.stderr.replace(str(tmp_path), "")
    assert not (tmp_path / "out" / "repro.py").exists()


def test_what_fails_in_eager_as_well_is_not_the_compilers_fault(tmp_path, run_here):
    (tmp_path / "script.py").write_text(
        "import torch\n"
        "f = torch.compile(lambda x, i: x.index_select(0, i) + 1, backend='eager')\n"
        "f(torch.ones(3), torch.tensor([7]))\n"
    )
    run = run_here(tmp_path, "run", "--out", "out", "script.py")
    assert run.returncode == 1, run.stderr
    assert result_of(tmp_path / "out")["status"] == "not_a_bug"


def test_a_budget_that_is_too_small_says_where_the_case_lies(tmp_path, run_here):
    (tmp_path / "train.py").write_text(COMPILE_ERROR)
    run = run_here(tmp_path, "run", "--budget", "0", "--out", "out", "train.py")
    assert run.returncode == 3
    assert "What was caught lies in out/case" in run.stderr
    run = run_here(tmp_path, "reduce", "out")
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run"], "Missing argument 'SCRIPT'"),
        (["run", "--only", "nonsense", "x.py"], "'nonsense' is not a pass"),
        (["run", "--jobs", "0", "x.py"], "--jobs"),
        (["reduce", "nowhere"], "does not exist"),
        (["reduce", "."], "is not a case"),
        (["nonsense"], "No such command"),
    ],
)
def test_a_wrong_command_line(tmp_path, arguments, said, run_here):
    run = run_here(tmp_path, *arguments)
    assert run.returncode == 2
    assert said in run.stderr and "Traceback" not in run.stderr


def test_the_passes_are_listed(tmp_path, run_here):
    run = run_here(tmp_path, "passes")
    assert run.returncode == 0
    for name in ("cut", "context", "gradients", "random-values"):
        assert re.search(rf"^\s*{name}\b", run.stdout, re.MULTILINE)


def test_an_error_of_ours_is_told_as_one(monkeypatch):
    def breaks(*args):
        raise RuntimeError("a nut came loose")

    monkeypatch.setattr("torchcrux.command.reduce_command", breaks)
    result = CliRunner().invoke(main, ["reduce", "."])
    assert result.exit_code == 3
    assert "torchcrux itself failed: RuntimeError: a nut came loose" in result.stderr
    (path,) = re.findall(r"traceback is in (\S+)\.", result.stderr.replace("\n", " "))
    assert "in breaks" in Path(path).read_text()
    Path(path).unlink()


TRANSFORM = """
import torch
import torch._inductor.config

torch._inductor.config.cpp.inject_relu_bug_TESTING_ONLY = "accuracy"

def loss(w, x):
    return torch.relu(x @ w).pow(2).sum()

def f(w, x):
    return torch.func.grad(loss)(w, x) * 2

torch.manual_seed(0)
w, x = torch.randn(4), torch.randn(5, 4)
torch.testing.assert_close(torch.compile(f)(w, x), f(w, x))
"""


def test_what_cannot_be_cut_apart_is_reduced_as_the_operators_it_comes_down_to(tmp_path, run_here):
    (tmp_path / "transform.py").write_text(TRANSFORM)
    done = run_here(tmp_path, "run", "--only", "cut,inline-bodies", "--out", "out", "transform.py")
    assert done.returncode == 0, done.stderr
    assert result_of(tmp_path / "out")["operations"]["final"] == 1
    assert "_functorch" not in (tmp_path / "out" / "repro.py").read_text()


def test_the_main_process_has_no_torch():
    """The script that is run imports it at the same time; nobody waits for it twice."""
    code = "import sys, torchcrux.cli, torchcrux.command; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
