"""What is pasted into an issue."""

from __future__ import annotations

from torchcrux.oracle.failure import Failure, Kind, Stage
from torchcrux.program.ir import Node, Op, Program, Ref
from torchcrux.report.issue import issue, with_issue, without_warnings
from torchcrux.report.result import Result, versions
from torchcrux.report.terminal import summary


def result(**changes):
    error = (("ValueError", "no kernel in /home/me/model/lower.py"),)
    plain = {
        "status": "reduced",
        "failure": Failure(Kind.COMPILE_ERROR, Stage.BACKEND, error, ()),
        "layer": "aot_eager",
        "layers": (("eager", "passes"), ("aot_eager", "same")),
        "text": "import torch\n",
        "necessary": (("x: float32 → float64", "passes"), ("x all ones", "different")),
        "workarounds": ("torch.compile(…, dynamic=False)",),
    }
    return Result(**{**plain, **changes})


def test_it_says_what_fails_and_what_passes():
    used = ", ".join(f"{name} {version}" for name, version in versions().items())
    assert (
        issue(result())
        == f"""\
# ValueError: no kernel in lower.py

Eager runs; compiling raises an exception.

```python
import torch
```

Layer: `aot_eager`. Of the other backends `eager` passes.

It passes with any one of these changes:

- `x: float32 → float64`

Workarounds, tried on this script:

- `torch.compile(…, dynamic=False)`

Versions: {used}.
"""
    )


def test_files_that_the_script_names_must_come_with_it(tmp_path):
    (tmp_path / "kernels.py").touch()
    here, elsewhere = str(tmp_path / "kernels.py"), str(tmp_path / "gone.py")
    text = f"open({here!r}); open({elsewhere!r}); open({here!r}); open('kernels.py'); 'a\\0b'\n"
    whole = result(text=text, folder=tmp_path, verified_runs=3)
    assert whole.named_files == [here]
    said = "The script needs files of the reporter, or what lies beside them: `kernels.py`."
    assert said in issue(whole)
    assert f"Needs files of this machine, or what lies beside: {here}" in summary(whole)
    assert "The script needs files" not in issue(result())


def test_where_messages_are_alike_the_title_names_what_is_computed():
    program = Program(
        (
            Node("x", Op.INPUT),
            Node("sin", Op.METHOD, "sin", (Ref("x"),)),
            Node("add", Op.FUNCTION, "operator.add", (Ref("sin"), Ref("sin"))),
        ),
        ("add",),
    )
    wrong = Failure(Kind.ACCURACY, Stage.RUN, (("AssertionError", "not close"),), ())
    told = issue(result(failure=wrong, program=program))
    assert told.startswith("# Wrong numbers: sin, add with backend aot_eager\n")


def test_a_fence_is_longer_than_what_it_holds():
    assert "````python\ny = '```'\n````" in issue(result(text="y = '```'\n"))


def test_nothing_is_said_about_what_is_not_known():
    text = issue(result(layers=(), necessary=(), workarounds=()))
    assert "passes" not in text and "Workarounds" not in text


def test_it_is_written_only_for_what_was_verified(tmp_path):
    written = with_issue(result(folder=tmp_path, verified_runs=3))
    assert written.files["issue"] == "issue.md"
    assert (tmp_path / "issue.md").read_text(encoding="utf-8") == issue(written)
    assert with_issue(result(folder=tmp_path)).files == {}
    assert not (tmp_path / "issue.md").exists()


def test_of_a_cpp_compiler_the_errors_are_shown():
    printed = [
        "In file included from torch/vec.h:12,",
        "torch/vec.h: In instantiation of ‘Vectorized<T> shift()’:",
        "torch/vec.h:1450:90:   required from here",
        "torch/vec.h:243:7: warning: overflow in conversion",
        "  243 |       0xff, 0xff,",
        "      |       ^~~~",
        "main.cpp:12:29: error: ‘compile’ was not declared in this scope",
        "   12 |                 auto tmp1 = compile error!;",
        "Set TORCHDYNAMO_VERBOSE=1",
    ]
    assert without_warnings(printed) == printed[-3:]
    assert without_warnings(["  indented", "text"]) == ["  indented", "text"]
