"""An operator that a script registers comes along with its registration."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from torchcrux.capturing.registration import Registration
from torchcrux.capturing.script import Ending
from torchcrux.emit.script import script

pytestmark = pytest.mark.usefixtures("warm_start")

SCRIPT = """
import torch

FACTOR = 2.0

@torch.library.custom_op("crux_tests::scaled", mutates_args=())
def scaled(x: torch.Tensor) -> torch.Tensor:
    return x * FACTOR

@scaled.register_fake
def _(x):
    return torch.empty_like(x)

@torch.library.custom_op("crux_tests::other", mutates_args=())
def other(x: torch.Tensor) -> torch.Tensor:
    return x.clone()

@other.register_fake
def _(x):
    return torch.empty_like(x)

def f(x):
    return torch.relu(scaled(x.sin()))

torch.compile(f, backend="relu_compile_error_TESTING_ONLY")(torch.ones(3))
"""


def test_an_operator_comes_along_and_nothing_else_of_its_module(scripts, tmp_path):
    found = scripts.run(SCRIPT)
    assert found.ending is Ending.CAUGHT, found
    case = found.case
    assert [node.obstacle for node in case.program.calls] == [None] * 3
    ((name, source),) = case.context.operators
    assert name == "torch.ops.crux_tests.scaled"
    assert "register_fake" in source
    assert "FACTOR" in source
    assert "other" not in source

    text = script(case.program, case.context)
    assert text.index("custom_op(") < text.index("def f(")
    path = tmp_path / "alone.py"
    path.write_text(text)
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, check=False)
    assert "ReluCompileError" in done.stderr


def test_an_operator_of_a_function_is_named_as_an_obstacle(scripts):
    inside = "\n".join("    " + line for line in SCRIPT.strip().splitlines())
    found = scripts.run(f"def main():\n{inside}\nmain()\n")
    (call,) = [node for node in found.case.program.calls if node.obstacle]
    assert "crux_tests::scaled" in call.obstacle
    assert "inside of a function" in call.obstacle
    assert found.case.context.operators == ()


RAW = """
import torch

lib = torch.library.Library("crux_raw", "DEF")
lib.define("scaled(Tensor x) -> Tensor")
lib.define("other(Tensor x) -> Tensor")

def scaled(x):
    return x * 2

lib.impl("scaled", scaled, "CPU")
lib.impl("other", lambda x: x.clone(), "CPU")

@torch.library.register_fake("crux_raw::scaled")
def _(x):
    return torch.empty_like(x)

def register():
    torch.library.define("crux_free::shifted", "(Tensor x) -> Tensor")

    @torch.library.impl("crux_free::shifted", "default")
    def shifted(x):
        return x + 1

    @torch.library.register_fake("crux_free::shifted")
    def _(x):
        return torch.empty_like(x)

register()

def f(x):
    return torch.relu(torch.ops.crux_raw.scaled(torch.ops.crux_free.shifted(x)))

torch.compile(f, backend="relu_compile_error_TESTING_ONLY")(torch.ones(3))
"""


def test_operators_of_a_library_come_along_however_they_are_registered(scripts, tmp_path):
    case = scripts.run(RAW).case
    assert [node.obstacle for node in case.program.calls] == [None] * 3
    sources = dict(case.context.operators)
    raw, free = (sources[f"torch.ops.{name}"] for name in ("crux_raw.scaled", "crux_free.shifted"))
    assert "other" not in raw
    assert raw.count("lib.") == 2
    assert "def register()" in free and "\nregister()" in free

    path = tmp_path / "alone.py"
    path.write_text(script(case.program, case.context))
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, check=False)
    assert "ReluCompileError" in done.stderr


COMPILED = """
import pathlib
import sys
import types

pathlib.Path("compiled.so").write_bytes(bytes(range(256)))
sys.modules["compiled"] = types.ModuleType("compiled")
sys.modules["compiled"].__file__ = "compiled.so"
"""


def test_a_module_without_source_hides_no_operator(scripts, tmp_path, monkeypatch):
    """An extension beside the script, say. Where an operator is in none of the others, it may be
    in that one."""
    monkeypatch.chdir(tmp_path)
    case = scripts.run(COMPILED + RAW).case
    assert [node.obstacle for node in case.program.calls] == [None] * 3
    lost = RAW.replace(
        "\nregister()", "\ngetattr(sys.modules[__name__], 'reg' + 'ister')()"
    ).replace('"crux_free::shifted"', '"crux_" + "free::shifted"')
    (call,) = [node for node in scripts.run(COMPILED + lost).case.program.calls if node.obstacle]
    assert "crux_free::shifted, whose source is not to be had" in call.obstacle


def test_what_a_compiler_makes_of_an_operator_comes_along():
    lowered = Registration("space", "name")
    statements = ast.parse(
        """
@register_lowering(torch.ops.space.name.default, type_promotion_kind=None)
def _(x): ...

@register_lowering(torch.ops.space.name)
def _(x): ...

decompositions[torch.ops.space.name.default] = mine
make_fallback(torch.ops.space.name)
torch._inductor.lowering.register_lowering(torch.ops.space.name)(mine)

@register_lowering(torch.ops.space.names)
def _(x): ...

y = torch.ops.space.name(x)
lowerings[torch.ops.space.other] = torch.ops.space.name
"""
    ).body
    told = [lowered.is_ruled(node) for node in statements]
    assert told == [True, True, True, False, True, False, False, False]
