"""What a script has set up in functions, and under its main guard, comes along."""

from __future__ import annotations

import ast
import subprocess
import sys
from types import SimpleNamespace

import pytest

from torchcrux.capturing.script import Ending
from torchcrux.emit.script import script

pytestmark = pytest.mark.usefixtures("warm_start")

MODULES = {
    "tables": """
        class Registry:
            def __init__(self):
                self.rules = {}

            def add(self, name, rule):
                self.rules[name] = rule

        REGISTRY = Registry()
        TABLE = {}

        def extend(table, **rules):
            table.update(rules)
        """,
    "rules": """
        from tables import REGISTRY, TABLE, extend

        def refuse(node):
            raise RuntimeError(f"boom at {node.name}")

        def load(level=1):
            REGISTRY.add("add", refuse)
            extend(TABLE, add=level)

        def load_all(model=None):
            load()

        def start(model):
            model.parameters()
            load()
        """,
}
BACKEND = """
import operator, torch
import rules
from tables import REGISTRY, TABLE, extend

KERNELS, SEEN = {}, {"graphs": 0}

def kernel(node):
    raise RuntimeError("boom")

def fill():
    KERNELS[operator.add] = kernel

def forget():
    KERNELS.clear()

def of_a_function(gm, inputs):
    SEEN["graphs"] += 1
    for node in gm.graph.nodes:
        if node.target in KERNELS and SEEN["graphs"] == 1:
            KERNELS[node.target](node)
    return gm

def of_modules(gm, inputs):
    if TABLE["add"] == 1:
        for node in gm.graph.nodes:
            if node.target is operator.add:
                REGISTRY.rules["add"](node)
    return gm

def run(backend):
    torch.compile(lambda x: x + 1, backend=backend)(torch.ones(2))
    forget()
"""
ENDINGS = {
    "a function under the main guard": (
        'if __name__ == "__main__":\n    fill()\n    run(of_a_function)\n',
        "of_a_function",
        ["fill()"],
    ),
    "what is underway itself": (
        """
def main(words):
    with torch.no_grad():
        for name in ("add", "sub"):
            KERNELS[getattr(operator, name)] = kernel
    KERNELS[words] = kernel
    if words == "sub":
        KERNELS.clear()
    else:
        KERNELS["other"] = kernel
    run(of_a_function)
    KERNELS.clear()

main(["mul"][0])
""",
        "of_a_function",
        ["KERNELS['mul'] = kernel", 'KERNELS["other"] = kernel'],
    ),
    "a function of another module, called with what only the script knows": (
        """
class App:
    def __init__(self, level):
        self.level = level

    def run(self):
        rules.load(self.level)
        rules.load_all(model=self)
        run(of_modules)

App(int("1")).run()
""",
        "of_modules",
        ["load_all()"],
    ),
    "in the script, through what fills its argument": (
        """
extend(TABLE, add=1)
if __name__ == "__main__":
    REGISTRY.add("add", rules.refuse)
    run(of_modules)
""",
        "of_modules",
        ["TABLE = {'add': 1}", 'REGISTRY.add("add", rules.refuse)'],
    ),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_tables_that_are_filled_before_the_compiled_function_is_called(ending, scripts, said_alone):
    for name, text in MODULES.items():
        scripts.write(f"{name}.py", text)
    text, name, has = ENDINGS[ending]
    found = scripts.run(BACKEND + text)
    assert found.ending is Ending.CAUGHT, found
    backend = found.case.context.backend
    assert backend.name == name
    assert "boom" in said_alone(backend), backend.source
    for other in ("start", "forget", "clear", "main", "App", "torch.compile"):
        assert other not in backend.source
    assert set(has) <= set(backend.source.splitlines()), backend.source


UNDERWAY = """
import sys
from types import SimpleNamespace
from torchcrux.capturing import underway

SIZE = 3

def filled(options, *, secret):
    fill(options.level, SIZE, secret, options.name)
    if options.level > 1:
        fill(1)
    elif options.name == secret:
        fill(2)
    if sys.argv:
        fill(3)
    if options.level is None or options.name in ("a", "b"):
        fill(5)
    elif options.level < options.limit:
        fill(6)
    options.limit = "changed"
    for options.level in range(2):
        fill(options.level)
    while True:
        fill(4)
        return underway.executed(module, tree)

def fill(*values):
    pass

filled.__globals__.update(module=SimpleNamespace(__file__=__file__), tree=TREE)
"""


def test_variables_that_are_plain_have_their_values(tmp_path):
    path = tmp_path / "underway_script.py"
    path.write_text(UNDERWAY)
    space = {"__file__": str(path), "TREE": ast.parse(UNDERWAY)}
    exec(compile(UNDERWAY, path, "exec"), space)
    options = SimpleNamespace(level=1, name="word", limit=2)
    found = [ast.unparse(node) for node, _ in space["filled"](options, secret="word")]
    first = "fill(1, SIZE, secret, options.name)"
    assert found[:4] == [first, "fill(2)", "fill(3)", "fill(6)"]
    assert found[4] == "options.limit = 'changed'"
    assert len(found) == 6 and found[5].startswith("for options.level in")


def test_what_only_a_function_with_a_model_does_is_not_done_again(scripts):
    for name, text in MODULES.items():
        scripts.write(f"{name}.py", text)
    text = """
model = torch.nn.Linear(1, 1)

def warm_up():
    TABLE["sub"] = model(torch.ones(1))

rules.start(model)
warm_up()
run(of_modules)
"""
    source = scripts.run(BACKEND + text).case.context.backend.source
    assert "start" not in source and "Linear" not in source and "warm_up" not in source


PATTERNS = """
import torch
from torch._dynamo.backends.common import aot_autograd
from torch._inductor.pattern_matcher import (
    Arg, CallFunction, PatternMatcherPass, register_graph_pattern
)

fusions = PatternMatcherPass()

def added(match, x):
    raise RuntimeError("boom")

def add(function, *places):
    pattern = CallFunction(torch.ops.aten.add.Tensor, Arg(), 1)
    for place in places:
        register_graph_pattern(pattern, pass_dict=place)(function)

def enable():
    add(added, fusions)

def lower(gm, inputs):
    fusions.apply(gm.graph)
    return gm

def backend(gm, inputs):
    return aot_autograd(fw_compiler=lower)(gm, inputs)

def main():
    {}
    torch.compile(lambda x: x + 1, backend=backend)(torch.ones(2))

main()
"""


@pytest.mark.parametrize("call", ["enable()", "add(added, fusions)"])
def test_patterns_that_a_function_registers(call, scripts, said_alone):
    backend = scripts.run(PATTERNS.format(call)).case.context.backend
    assert "main" not in backend.source
    assert "boom" in said_alone(backend), backend.source


REGISTERED = """
import torch
from torch._inductor.lowering import register_lowering

def define():
    lib = torch.library.Library("crux_makers", "DEF")
    lib.define("scaled(Tensor x) -> Tensor")
    lib.impl("scaled", lambda x: x * 2, "CompositeExplicitAutograd")
    torch.library.register_fake("crux_makers::scaled", torch.empty_like, lib=lib)
    return lib

def install():
    @register_lowering(torch.ops.aten.erfc.default)
    def lowered(x):
        raise RuntimeError("boom")

def refused(x):
    raise RuntimeError("boom")

def main():
    {}
    f = torch.compile({}, backend={!r})
    f(torch.ones(2))

if __name__ == "__main__":
    library = define()
    main()
"""


def test_an_operator_that_a_function_registers(scripts, tmp_path):
    f = "lambda x: torch.relu(torch.ops.crux_makers.scaled(x))"
    found = scripts.run(REGISTERED.format("pass", f, "relu_compile_error_TESTING_ONLY"))
    case = found.case
    assert [node.obstacle for node in case.program.calls] == [None, None]
    path = tmp_path / "alone.py"
    path.write_text(script(case.program, case.context))
    assert "library = define()" in path.read_text()
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, check=False)
    assert "ReluCompileError" in done.stderr


@pytest.mark.parametrize(
    "call", ["install()", "register_lowering(torch.ops.aten.erfc.default)(refused)"]
)
def test_a_lowering_that_is_registered_before_the_compiled_function_is_called(call, scripts):
    found = scripts.run(REGISTERED.format(call, "torch.erfc", "inductor"))
    assert found.case.notes == ()
    (setting,) = found.case.context.config
    assert setting.splitlines()[-1] == call


CLASSES = """
import operator, torch

class Compiler:
    rules = {}

    @classmethod
    def register(cls, target, rule):
        cls.rules[target] = rule

    def __call__(self, gm, inputs):
        for node in gm.graph.nodes:
            if node.target in self.rules:
                self.rules[node.target](node)
        return gm

def refuse(node):
    raise RuntimeError("boom")

class Plugin:
    def __init__(self, names):
        self.names = names

    def install(self):
        for name in self.names:
            Compiler.rules[getattr(operator, name)] = refuse

class App:
    def run(self):
        Compiler.rules["app"] = refuse
        torch.compile(lambda x: x + 1, backend=Compiler())(torch.ones(2))

class Net(torch.nn.Module):
    def forward(self, x):
        Compiler.rules["net"] = refuse

if __name__ == "__main__":
    {}
    net = Net()
    App().run()
"""


@pytest.mark.parametrize(
    "call", ['Plugin(["add"]).install()', "Compiler.register(operator.add, refuse)"]
)
def test_tables_of_a_class_and_methods_that_fill_them(call, scripts, said_alone):
    backend = scripts.run(CLASSES.replace("{}\n    net", f"{call}\n    net")).case.context.backend
    assert call in backend.source and "boom" in said_alone(backend), backend.source
    assert "App" not in backend.source and "Net" not in backend.source
