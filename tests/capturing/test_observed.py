"""A script under observation does, prints and returns what it does without us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from torchcrux.capturing.script import Ending, run_script

FAILS = """
import torch
torch.compile(torch.relu, backend="relu_compile_error_TESTING_ONLY")(torch.ones(3))
"""

PROGRAMS = {
    "what a script sees": """
import sys, os
assert "torch" not in sys.modules
print(__name__, __file__, __spec__, __package__, sys.argv, sys.path[0], __doc__)
print(sorted(k for k in globals() if k.startswith("__")))
print(sys.modules["__main__"].__dict__ is globals(), sorted(k for k in os.environ))
""",
    "status": "import sys; sys.exit(7)",
    "status by text": "import sys; sys.exit('goodbye')",
    "os._exit": "import os; os._exit(5)",
    "eager error": "def f(x):\n    return 1 / x\n\nf(0)\n",
    "chained error": """
def f():
    try:
        {}["a"]
    except KeyError as e:
        raise ValueError("no a") from e
f()
""",
    "atexit and threads": """
import atexit, threading, time
atexit.register(print, "atexit")
threading.Thread(target=lambda: (time.sleep(0.2), print("thread"))).start()
print("end")
1 / 0
""",
    "own excepthook": """
import sys, traceback
def hook(kind, error, trace):
    print("hook:", kind.__name__, error, [f.name for f in traceback.extract_tb(trace)])
sys.excepthook = hook
def f():
    raise RuntimeError("oh")
f()
""",
    "unprintable error": """
class Odd(Exception):
    def __str__(self):
        raise RuntimeError("no text")
raise Odd()
""",
    "neighbours and chdir": """
import os
os.makedirs("elsewhere", exist_ok=True)
os.chdir("elsewhere")
import neighbour
print(neighbour.VALUE, os.path.basename(os.getcwd()))
""",
    "fork": """
import os, sys
sys.stdout.flush()
pid = os.fork()
if pid == 0:
    print("child"); sys.stdout.flush()
    sys.exit(3)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
""",
    "multiprocessing": """
import multiprocessing as mp

def work(n):
    return n + 1

if __name__ == "__main__":
    for method in ("fork", "spawn"):
        with mp.get_context(method).Pool(2) as pool:
            print(method, pool.map(work, [1, 2]))
""",
    "pickle of a class of the script": """
import pickle
class Point: pass
print(type(pickle.loads(pickle.dumps(Point()))).__module__)
""",
    "compile error": FAILS,
    "runtime error below functions": """
import torch
@torch.compile(backend="relu_runtime_error_TESTING_ONLY")
def f(x):
    return torch.relu(x)
def train():
    f(torch.ones(2))
train()
""",
    "success": """
import torch
print(torch.compile(lambda x: x.sin() + 1, backend="aot_eager")(torch.zeros(2)))
""",
}


def observed(folder, name, *args, stdin=None):
    start = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from torchcrux.capturing.script import run_script
        found = run_script(sys.argv[1], sys.argv[2:], folder=Path("cases"))
        assert "torch" not in sys.modules
        sys.exit(found.status if found.signal is None else 128 + found.signal)
        """
    )
    return subprocess.run(
        [sys.executable, "-c", start, name, *args],
        cwd=folder,
        capture_output=True,
        text=True,
        input=stdin,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        check=False,
    )


@pytest.mark.parametrize("text", PROGRAMS.values(), ids=PROGRAMS)
def test_nobody_can_tell_the_difference(tmp_path, text):
    (tmp_path / "neighbour.py").write_text("VALUE = 17\n")
    (tmp_path / "user_script.py").write_text(text)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    plain = subprocess.run(
        [sys.executable, "user_script.py", "-a", "b c"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=env,
        check=False,
    )
    watched = observed(tmp_path, "user_script.py", "-a", "b c")
    assert watched.stdout == plain.stdout
    assert without_addresses(watched.stderr) == without_addresses(plain.stderr)
    assert watched.returncode == plain.returncode


def without_addresses(text):
    return "\n".join(line for line in text.splitlines() if "eval_with_key" not in line)


def test_stdin_is_the_scripts(tmp_path):
    (tmp_path / "user_script.py").write_text("print(input() + '!')")
    assert observed(tmp_path, "user_script.py", stdin="hello\n").stdout == "hello!\n"


def test_a_module_of_a_package(scripts, monkeypatch):
    scripts.write("package/__init__.py", "")
    scripts.write("package/helper.py", "from torch import relu as op")
    scripts.write(
        "package/train.py",
        """
        import sys
        import torch
        from .helper import op
        assert sys.argv == [__file__, "--steps", "2"], sys.argv
        assert __name__ == "__main__" and __spec__.name == "package.train"
        assert __package__ == "package"
        torch.compile(op, backend="relu_compile_error_TESTING_ONLY")(torch.ones(3))
        """,
    )
    scripts.write("package/__main__.py", "from package import train")
    monkeypatch.chdir(scripts.folder)
    found = scripts.run_file("package.train", "--steps", "2", module=True)
    assert found.ending is Ending.CAUGHT, found
    assert found.exception.type == "BackendCompilerFailed"
    missing = scripts.run_file("package.nothing", module=True)
    assert missing.ending is Ending.CANNOT_RUN
    assert "package.nothing" in missing.message


@pytest.mark.parametrize(
    ("text", "ending", "words"),
    [
        ("1 / 0", Ending.OTHER_ERROR, "ZeroDivisionError"),
        ("import torch; torch.ones(2) @ torch.ones(3)", Ending.OTHER_ERROR, "before any"),
        ("print('nothing')", Ending.NO_GRAPH, "compiled nothing"),
        ("import sys; sys.exit(4)", Ending.NO_GRAPH, "status 4"),
        ("import os; os._exit(4)", Ending.NO_GRAPH, "abruptly"),
        ("def f(:", Ending.CANNOT_RUN, "line 1"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", Ending.KILLED, "SIGKILL"),
        ("raise KeyboardInterrupt", Ending.INTERRUPTED, "interrupted"),
        (
            "import torch\nf = torch.compile(torch.sin, backend='eager')\n"
            "f(torch.ones(1))\nassert False, 'mine'",
            Ending.OTHER_ERROR,
            "after 1 compiled graph",
        ),
        (
            "import torch\nf = torch.compile(torch.sin, backend='eager')\nf(torch.ones(1))",
            Ending.PASSED,
            "none of them failed",
        ),
    ],
)
def test_what_else_can_happen(scripts, text, ending, words):
    found = scripts.run(text)
    assert found.ending is ending, found
    assert words in found.message
    assert found.case is None


def test_a_script_that_is_not_there(scripts):
    found = scripts.run_file(str(scripts.folder / "nothing.py"))
    assert found.ending is Ending.CANNOT_RUN
    assert "nothing.py" in found.message


def test_an_interrupt_kills_with_the_signal(scripts):
    assert scripts.run("raise KeyboardInterrupt").signal == signal.SIGINT


def test_the_failure_that_ended_the_script_comes_before_a_swallowed_one(scripts):
    found = scripts.run(
        """
import torch
def attempt(f, backend):
    torch.compile(f, backend=backend)(torch.ones(3))
try:
    attempt(torch.relu, "relu_runtime_error_TESTING_ONLY")
except AssertionError:
    pass
try:
    attempt(lambda x: torch.relu(x) + 1, "relu_compile_error_TESTING_ONLY")
except Exception as e:
    raise ValueError("in my own words") from e
"""
    )
    assert found.case.failure.exception == "ReluCompileError"
    assert not found.swallowed
    assert [case.failure.message for case in found.others] == ["ReluRuntimeError"]


def test_a_failure_in_a_forked_child_is_kept(scripts):
    found = scripts.run(
        """
import os, torch
pid = os.fork()
if pid == 0:
    torch.compile(torch.relu, backend="relu_compile_error_TESTING_ONLY")(torch.ones(3))
os.waitpid(pid, 0)
"""
    )
    assert found.ending is Ending.CAUGHT
    assert found.swallowed


def test_our_own_failure_never_reaches_the_script(scripts):
    found = scripts.run(
        """
import torch, torchcrux.capturing.hook as hook
def broken(*args): raise RuntimeError("ours")
hook.lower = broken
print(torch.compile(lambda x: x + 1, backend="eager")(torch.ones(2)))
"""
    )
    assert found.status == 0
    assert found.ending is Ending.BROKEN
    assert "RuntimeError: ours" in found.broken[0]


def test_a_compiled_function_keeps_its_attributes(scripts):
    found = scripts.run(
        """
import torch
seen = []
def backend(gm, inputs):
    seen.append(inputs)
    def run(*args): return gm.forward(*args)
    run._boxed_call = False
    run.note = "mine"
    return run
def f(x): return x.sin()
torch.compile(f, backend=backend)(torch.ones(2))
assert type(seen[0][0]) is torch.Tensor
import sys
compiled = [v for k, v in globals().items() if k.startswith("__compiled_fn")]
assert compiled and compiled[0].note == "mine" and compiled[0]._boxed_call is False
"""
    )
    assert found.ending is Ending.PASSED, found


LINGERS = """
import atexit, sys, time, torch
atexit.register(time.sleep, 30)

def broken(gm, inputs):
    raise RuntimeError("no")

f = torch.compile(lambda x: x.sin(), backend=broken)
try:
    f(torch.ones(2))
except Exception:
    if {raises}:
        raise
"""


def test_nobody_waits_for_the_end_of_python_once_a_failure_is_known(scripts):
    lingering = []
    path = scripts.write("script.py", LINGERS.format(raises=True))
    caught = run_script(str(path), (), folder=scripts.folder / "1", lingering=lingering)
    try:
        assert lingering[0].poll() is None
        assert caught.ending is Ending.CAUGHT
        assert caught.status == 1
        assert caught.exception.case == caught.case.folder.name
    finally:
        lingering[0].kill()
        lingering[0].wait()


def test_a_script_that_goes_on_is_waited_for(scripts):
    lingering = []
    text = LINGERS.format(raises=False).replace("30", "1")
    path = scripts.write("script.py", text)
    caught = run_script(str(path), (), folder=scripts.folder / "1", lingering=lingering)
    assert lingering[0].poll() == 0
    assert caught.swallowed
