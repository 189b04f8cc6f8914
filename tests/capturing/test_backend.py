"""A backend comes along in a form that a fresh process understands."""

from __future__ import annotations

import textwrap

import pytest

from torchcrux.capturing.script import Ending
from torchcrux.emit.script import script

pytestmark = pytest.mark.usefixtures("warm_start")


USE = "\ntorch.compile(lambda x: x + 1, backend={})(torch.ones(2))\n"

SOURCES = {
    "a function and what it needs": (
        """
import math, os, torch
from collections import OrderedDict as OD, deque

LIMIT = 0
UNUSED = os.getcwd()
REGISTRY = {}
REGISTRY["word"] = "boom"

class Failure(RuntimeError):
    pass

def unrelated():
    return deque()

def register(function):
    function.mark = math.pi
    return function

def count(gm):
    # counts the nodes
    return len(OD.fromkeys(gm.graph.nodes)) + LIMIT

@register
def my_backend(gm, inputs):
    if count(gm) > 0:
        raise Failure(REGISTRY["word"] + str(len(inputs)))
    return gm.forward
"""
        + USE.format("my_backend"),
        "my_backend",
        ["class Failure", "# counts the nodes", '"word"', "@register"],
        ["UNUSED", "unrelated", "deque", "torch.compile", "import os"],
    ),
    "data instead of what it was computed from": (
        """
import hashlib, os, random, torch

DRAWN = sorted(random.sample(range(50), 3))
LAST: int = DRAWN[-1]
SEEN = []
for one in DRAWN:
    SEEN.append(one)
HOME = os.path.join(os.getcwd(), "cache")
os.environ["SECRET"] = "hun" + "ter2"
TOKEN = os.environ.get("SECRET")
CODE = hashlib.sha256(b"plan").hexdigest()
NAME = "-".join(["a", "b"])
PARTS = int(hashlib.md5(b"plan").hexdigest(), 16) % 7
CALLS = 2 - 1
LIMIT = 3

def my_backend(gm, inputs):
    global CALLS
    CALLS += 1
    read = TOKEN, CODE, PARTS, NAME
    if DRAWN == SEEN and LAST > LIMIT - 2 and HOME.endswith("cache") and read:
        raise RuntimeError(f"boom{CALLS - 1}")
"""
        + USE.format("my_backend"),
        "my_backend",
        [
            *("CALLS = 2 - 1\n", "LIMIT = 3\n", "SEEN = [", "HOME = os.path.join(os.getcwd()"),
            *("TOKEN = os.environ.get(", "CODE = hashlib.sha256(", "NAME = 'a-b'\n"),
        ],
        ["random", "for one in", "LAST: int", "hunter2", "md5"],
    ),
    "a table that a loop and decorators fill": (
        """
import torch
import torch as t

SIZES, KERNELS, GRAPHS = {}, {}, {}
for bits, names in {8: ("uint8", "int8"), 32: ("float32",)}.items():
    for name in names:
        SIZES[getattr(torch, name)] = bits // 8

def kernel(*ops):
    def register(function):
        for op in ops:
            KERNELS[op] = function
        return function
    return register

@kernel("sin")
def sine():
    return "boom"

for name in ("cos", "tan"):
    kernel(name)(lambda name=name: name)

def my_backend(gm, inputs):
    GRAPHS[len(GRAPHS)] = gm
    raise RuntimeError(KERNELS["sin"]() + KERNELS["tan"]() + str(SIZES[torch.float32]))

compiled = torch.compile(lambda x: x + 2, backend="eager")
for step in range(2):
    GRAPHS.clear()
    compiled(torch.ones(step))
"""
        + USE.format("my_backend"),
        "my_backend",
        ["for bits, names in", "def sine", "for name in ("],
        ["compiled", "for step in"],
    ),
    "of the AOT kind": (
        """
import torch
from torch._decomp import get_decompositions
from torch._dynamo.backends.common import aot_autograd

class Driver:
    def __init__(self, word):
        self.word = word
        table = get_decompositions([torch.ops.aten.addmm, torch.ops.aten.t.default])
        self.inner = aot_autograd(
            fw_compiler=self.compile,
            bw_compiler=lambda gm, inputs: gm,
            decompositions={**table, torch.ops.aten.sin.default: torch.cos},
        )

    def __call__(self, gm, inputs):
        return self.inner(gm, inputs)

    def compile(self, gm, inputs):
        raise RuntimeError(self.word)

chosen = [Driver("boom")]
"""
        + USE.format("chosen[0]"),
        "driver",
        [
            "aot_autograd(",
            "bw_compiler=lambda gm, inputs: gm",
            "torch._decomp.get_decompositions(",
            "fw_compiler=driver.compile",
        ],
        ["inference_compiler", "_wrapped_bw_compiler", "AotAutograd.__new__"],
    ),
    "of the AOT kind with all decompositions but one": (
        """
import torch
from torch._decomp import core_aten_decompositions
from torch._dynamo.backends.common import aot_autograd

def make():
    def lower(gm, inputs):
        raise RuntimeError("boom")
    table = dict(core_aten_decompositions().items())
    del table[torch.ops.aten.addcmul.default]
    table[torch.ops.aten.sin.default] = torch.cos
    return aot_autograd(fw_compiler=lower, decompositions=table)

unsafe = torch.ops.aten._sparse_coo_tensor_unsafe.default
some = {unsafe: core_aten_decompositions()[unsafe]}
others = [core_aten_decompositions(), some]
chosen = [make(), *(aot_autograd(fw_compiler=print, decompositions=one) for one in others)]
"""
        + USE.format("chosen[0]"),
        "compiler_fn",
        [
            "torch._decomp.core_aten_decompositions()",
            "not in [",
            "torch.ops.aten.sin.default: torch.cos",
        ],
        ["get_decompositions"],
    ),
    "a closure": (
        """
import torch
def make(word, times):
    def helper(n):
        return word * n
    def backend(gm, inputs, *, sign="!"):
        raise RuntimeError(helper(times) + sign)
    return backend
chosen = make("boom", 1)
"""
        + USE.format("chosen"),
        "backend",
        ['"boom"'],
        [],
    ),
    "a closure with another name": (
        """
import torch
def make(word):
    def backend(gm, inputs):
        raise RuntimeError(word)
    backend.__name__ = word
    return backend
chosen = make("boom")
"""
        + USE.format("chosen"),
        "backend",
        ['"boom"', "return backend"],
        [],
    ),
    "a lambda": (
        """
import torch
def fail(text): raise RuntimeError(text)
"""
        + USE.format("lambda gm, inputs: fail('boom')"),
        "backend",
        ["def fail"],
        [],
    ),
    "a partial": (
        """
import functools, torch
def backend(word, gm, inputs, mark="."):
    raise RuntimeError(word + mark)
"""
        + USE.format('functools.partial(backend, "boom", mark="!")'),
        "backend_",
        ["def backend"],
        [],
    ),
    "an instance": (
        """
import torch
class Compiler:
    def __init__(self, word):
        self.word = word
        self.seen = [1, (2.5, None)]
    def __call__(self, gm, inputs):
        raise RuntimeError(self.word)
"""
        + USE.format('Compiler("boom")'),
        "compiler",
        ["class Compiler", "2.5"],
        [],
    ),
    "an instance that holds a secret of the environment": (
        """
import os, torch
os.environ["BUILD_TOKEN"] = "open" + "sesame"
os.environ["FLAVOUR"] = "release" + "-build"
class Compiler:
    def __init__(self):
        self.header = "Bearer " + os.environ["BUILD_TOKEN"]
        self.flavour = os.environ["FLAVOUR"]
    def __call__(self, gm, inputs):
        raise RuntimeError("boom" + self.flavour)
"""
        + USE.format("Compiler()"),
        "compiler",
        ['"Bearer " + os.environ.get("BUILD_TOKEN", "")', '"release-build"'],
        ["opensesame"],
    ),
    "an instance without a state, of an abstract class": (
        """
import torch
from abc import ABC, abstractmethod
class Base(ABC):
    @abstractmethod
    def __call__(self, gm, inputs):
        ...
class Compiler(Base):
    def __call__(self, gm, inputs):
        raise RuntimeError("boom")
"""
        + USE.format("Compiler()"),
        "Compiler_",
        ["Compiler_ = Compiler()"],
        ["__new__"],
    ),
    "a bound method": (
        """
import torch
class Compiler:
    def __init__(self, word):
        self.word = word
    def compile(self, gm, inputs):
        raise RuntimeError(self.word)
"""
        + USE.format('Compiler("boom").compile'),
        "compile_",
        ["class Compiler"],
        [],
    ),
    "a name that only the script registered": (
        """
import torch
from torch._dynamo import register_backend
@register_backend
def local_backend(gm, inputs):
    raise RuntimeError("boom")
"""
        + USE.format('"local_backend"'),
        "local_backend",
        ["def local_backend"],
        [],
    ),
    "a function whose name was taken over": (
        """
import torch
TABLE = {}
def backend(name):
    def decorate(f):
        def compile_fn(gm, inputs, **kw):
            f(gm)
            return gm.forward
        TABLE[name] = compile_fn
        return compile_fn
    return decorate
@backend("one")
def _(gm):
    raise RuntimeError("boom")
@backend("two")
def _(gm):
    pass
"""
        + USE.format('TABLE["one"]'),
        "compile_fn",
        ["boom"],
        ["two"],
    ),
}


@pytest.mark.parametrize(("text", "name", "has", "lacks"), SOURCES.values(), ids=SOURCES)
def test_a_callable_of_the_script_brings_its_source(scripts, said_alone, text, name, has, lacks):
    found = scripts.run(text)
    assert found.ending is Ending.CAUGHT, found
    backend = found.case.context.backend
    assert found.case.notes == ()
    assert (backend.name, backend.module) == (name, "")
    for part in has:
        assert part in backend.source
    for part in lacks:
        assert part not in backend.source
    assert "boom" in said_alone(backend), backend.source


def test_neighbours_come_along(scripts, said_alone):
    scripts.write("words.py", 'WORD = "boom"\nOTHER = "unused"\n')
    scripts.write(
        "tools.py",
        """
        import words as w
        from words import WORD as default

        def fail(word=None):
            raise RuntimeError(word or w.WORD or default)

        def unused():
            pass
        """,
    )
    scripts.write(
        "backends.py",
        """
        from tools import fail as raise_it
        from math import *

        def backend(gm, inputs):
            if pi:
                raise_it()
        """,
    )
    found = scripts.run("import torch\nfrom backends import backend\n" + USE.format("backend"))
    backend = found.case.context.backend
    assert found.case.notes == ()
    assert backend.name == "backend"
    assert "unused" not in backend.source
    assert "boom" in said_alone(backend), backend.source


def test_an_object_is_made_as_its_module_made_it(scripts, said_alone):
    scripts.write(
        "lowering.py",
        """
        from torch._dynamo.backends.common import aot_autograd

        def lower(gm, inputs):
            raise RuntimeError("boom")

        fused = aot_autograd(fw_compiler=lower)
        """,
    )
    found = scripts.run("import torch\nfrom lowering import fused\n" + USE.format("fused"))
    backend = found.case.context.backend
    assert found.case.notes == ()
    assert backend.name == "fused"
    assert "fused = aot_autograd(fw_compiler=lower)" in backend.source
    assert "boom" in said_alone(backend), backend.source


def test_tables_that_other_modules_fill(scripts, said_alone):
    scripts.write(
        "registry.py",
        """
        KERNELS, LIMITS = {}, {}

        def kernel(name):
            def register(function):
                KERNELS[name] = function
                return function
            return register
        """,
    )
    scripts.write(
        "kernels.py",
        """
        from registry import kernel, LIMITS

        WORD = "boom"
        LIMITS["sine"] = 3

        @kernel("sine")
        def sine():
            return WORD

        def unrelated():
            pass
        """,
    )
    scripts.write(
        "backends.py",
        """
        import kernels
        from registry import KERNELS, LIMITS

        def backend(gm, inputs):
            if LIMITS["sine"] == 3:
                raise RuntimeError(KERNELS["sine"]())
        """,
    )
    found = scripts.run("import torch\nfrom backends import backend\n" + USE.format("backend"))
    backend = found.case.context.backend
    assert found.case.notes == ()
    assert "unrelated" not in backend.source
    assert "boom" in said_alone(backend), backend.source


PATTERNS = """
import torch
from torch._dynamo.backends.common import aot_autograd
from torch._inductor.pattern_matcher import (
    Arg, CallFunction, PatternMatcherPass, fwd_only, register_graph_pattern, register_replacement
)

fusions = PatternMatcherPass()
others = PatternMatcherPass()
{registered}

def shown():
    fusions.patterns.keys()

shown()

@register_graph_pattern(CallFunction(torch.ops.aten.mul.Tensor, Arg(), Arg()), pass_dict=others)
def multiplied(match, x, y):
    pass

def lower(gm, inputs):
    fusions.apply(gm.graph)
    gm.recompile()
    return gm

def backend(gm, inputs):
    return aot_autograd(fw_compiler=lower)(gm, inputs)
"""
DECORATED = """
@register_graph_pattern(CallFunction(torch.ops.aten.add.Tensor, Arg(), 1), pass_dict=fusions)
def added(match, x):
    raise RuntimeError("boom")
"""
CALLED = """
def added(match, x):
    raise RuntimeError("boom")

for pattern in [CallFunction(torch.ops.aten.add.Tensor, Arg(), 1)]:
    register_graph_pattern(pattern, pass_dict=fusions)(added)
"""


@pytest.mark.parametrize("registered", [DECORATED, CALLED], ids=["decorated", "called"])
def test_what_is_handed_to_a_function_that_registers_something_there(
    registered, scripts, said_alone
):
    scripts.write("fusing.py", PATTERNS.format(registered=registered))
    found = scripts.run("import torch\nfrom fusing import backend\n" + USE.format("backend"))
    backend = found.case.context.backend
    assert found.case.notes == ()
    assert "multiplied" not in backend.source and "shown" not in backend.source
    assert "boom" in said_alone(backend), backend.source


def test_a_file_beside_the_code_is_read_from_where_it_is(scripts, said_alone):
    scripts.write("table.txt", "boom")
    scripts.write(
        "tables.py",
        """
        from pathlib import Path

        HERE = Path(__file__).parent

        def backend(gm, inputs):
            raise RuntimeError((HERE / "table.txt").read_text())
        """,
    )
    found = scripts.run("import torch\nfrom tables import backend\n" + USE.format("backend"))
    backend = found.case.context.backend
    (note,) = found.case.notes
    assert "tables.py" in note
    assert "boom" in said_alone(backend), backend.source


def test_tables_that_no_function_fills_are_made_as_their_module_made_them(scripts, said_alone):
    scripts.write(
        "vendor.py",
        """
        import torch
        from torch._decomp import core_aten_decompositions
        from torch._dynamo.backends.common import aot_autograd

        def add(x, y, *, alpha=1):
            raise RuntimeError("boom")

        TABLE = {**core_aten_decompositions()}
        TABLE[torch.ops.aten.add.Tensor] = add
        SEEN = {}

        def lower(gm, inputs):
            return gm

        def counted(gm, inputs):
            SEEN[len(SEEN)] = gm

        vendor = aot_autograd(fw_compiler=lower, decompositions=TABLE)
        """,
    )
    found = scripts.run("import torch\nfrom vendor import vendor\n" + USE.format("vendor"))
    backend = found.case.context.backend
    assert found.case.notes == ()
    assert "vendor = aot_autograd(fw_compiler=lower, decompositions=TABLE)" in backend.source
    assert "TABLE = {**core_aten_decompositions()}" in backend.source
    assert "SEEN" not in backend.source and "boom" in said_alone(backend), backend.source


def test_an_object_made_of_a_table_that_a_function_fills_brings_what_it_holds(scripts, said_alone):
    scripts.write(
        "vendor.py",
        """
        import torch
        from torch._dynamo.backends.common import aot_autograd

        TABLE = {}

        def register(operator):
            def decorator(function):
                TABLE[operator] = function
                return function
            return decorator

        @register(torch.ops.aten.add.Tensor)
        def add(x, y, *, alpha=1):
            raise RuntimeError("boom")

        def lower(gm, inputs):
            return gm

        vendor = aot_autograd(fw_compiler=lower, decompositions=TABLE)
        """,
    )
    found = scripts.run("import torch\nfrom vendor import vendor\n" + USE.format("vendor"))
    backend = found.case.context.backend
    assert found.case.notes == ()
    assert "{torch.ops.aten.add.Tensor: add}" in backend.source
    assert "boom" in said_alone(backend), backend.source


def test_an_object_made_of_other_objects_brings_what_it_holds(scripts, said_alone):
    found = scripts.run(
        textwrap.dedent("""
        import sys
        import torch

        class Failing:
            def __init__(self, word):
                self.word = word

            def __call__(self, gm, inputs):
                raise RuntimeError(self.word)

        made = sys.argv[0] and Failing("boom")
        word = made.word
        failing = Failing(word + sys.argv[0][:0])
        """)
        + USE.format("failing")
    )
    backend = found.case.context.backend
    assert "sys.argv" not in backend.source
    assert "boom" in said_alone(backend), backend.source


def test_a_callable_of_an_installed_package_is_imported(scripts):
    backend = scripts.run(
        "import torch\n"
        "from torch._dynamo.backends.debugging import relu_compile_error_TESTING_ONLY as b\n"
        "torch.compile(torch.relu, backend=b)(torch.ones(2))"
    ).case.context.backend
    assert backend.name == "relu_compile_error_TESTING_ONLY"
    assert backend.source == ""


def test_what_cannot_be_brought_along_is_said(scripts):
    case = scripts.run(
        textwrap.dedent(
            """
            import torch, threading
            def make():
                lock = threading.Lock()
                def backend(gm, inputs):
                    with lock:
                        raise RuntimeError("boom")
                return backend
            """
        )
        + USE.format("make()")
    ).case
    (note,) = case.notes
    assert "backend" in note
    assert "lock" in note
    assert case.context.backend.source == ""


def test_what_two_modules_call_alike_comes_along_under_two_names(scripts, said_alone):
    scripts.write(
        "tools.py",
        """
        import logging

        log = logging.getLogger("tools")
        LIMIT = 3

        def fail(word, log=None):
            globals_log().info("%s", log)
            raise RuntimeError(word)

        def globals_log():
            return log
        """,
    )
    scripts.write(
        "backends.py",
        """
        import logging
        from tools import fail, LIMIT

        log = logging.getLogger("backends")

        def backend(gm, inputs):
            log.info("compiling")
            if LIMIT == 3:
                fail("boom", log=log.name)
        """,
    )
    found = scripts.run("import torch\nfrom backends import backend\n" + USE.format("backend"))
    backend = found.case.context.backend
    assert found.case.notes == ()
    assert '_log = logging.getLogger("' in backend.source
    assert '\nlog = logging.getLogger("' in backend.source
    assert "boom" in said_alone(backend), backend.source


def test_what_others_know_by_its_name_keeps_it(scripts, said_alone):
    scripts.write(
        "tools.py", 'def check():\n    return "tools"\n\ndef run():\n    return check()\n'
    )
    scripts.write(
        "backends.py",
        """
        from tools import run

        def check():
            return "backends"

        def backend(gm, inputs):
            if (check(), run()) == ("backends", "tools"):
                raise RuntimeError("boom")
        """,
    )
    text = "import torch\nfrom backends import backend, check\n" + USE.format("backend")
    found = scripts.run(text)
    backend = found.case.context.backend
    assert found.case.notes == ()
    assert "boom" in said_alone(backend), backend.source


STATE = """
import torch
from collections import defaultdict

@torch.library.custom_op("named_in_code::halved", mutates_args=())
def halved(x: torch.Tensor) -> torch.Tensor:
    return x / 2

@halved.register_fake
def _(x):
    return torch.empty_like(x)

class Compiler:
    def __init__(self, word, limit=3, *, deep=False):
        self.word, self.limit = word, limit
        self.seen = defaultdict(list)

    def __call__(self, gm, inputs):
        if len(self.seen) < self.limit and float(torch.ops.named_in_code.halved(torch.ones(1))) < 1:
            raise RuntimeError(self.word)
"""


def test_an_object_whose_state_cannot_be_written_is_made_by_its_class(scripts):
    """With the operator that only the compiler uses."""
    found = scripts.run(STATE + USE.format('Compiler("boom", 7)'))
    case = found.case
    assert case.notes == ()
    assert 'compiler = Compiler(word="boom", limit=7)' in case.context.backend.source
    (operator,) = case.context.operators
    assert operator[0] == "torch.ops.named_in_code.halved" and "register_fake" in operator[1]
    assert "def halved(" in script(case.program, case.context)
