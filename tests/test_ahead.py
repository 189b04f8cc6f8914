"""Which interpreters are started ahead of a script, and which scripts they may run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from torchcrux.case import Case
from torchcrux.oracle.failure import Failure, Kind, Stage
from torchcrux.passes import Draft
from torchcrux.pools import Early, imports
from torchcrux.program.context import Backend, Context
from torchcrux.program.ir import Program
from torchcrux.torch_modules import EVERY_SCRIPT, WITH_INDUCTOR

CONFIG = ("torch._inductor.config.max_autotune = True",)


class Modules:
    def __init__(self, modules):
        self.modules = modules


@pytest.mark.parametrize(
    ("modules", "context", "may"),
    [
        (EVERY_SCRIPT, Context(), True),
        (EVERY_SCRIPT, Context(config=CONFIG), True),
        (EVERY_SCRIPT, Context(Backend("aot_eager")), True),
        (EVERY_SCRIPT, Context(environment=(("A", "1"),)), False),
        (EVERY_SCRIPT + WITH_INDUCTOR, Context(), True),
        (EVERY_SCRIPT + WITH_INDUCTOR, Context(config=CONFIG), False),
        (EVERY_SCRIPT + WITH_INDUCTOR, Context(Backend("aot_eager")), False),
    ],
)
def test_nothing_comes_before_what_it_may_depend_on(modules, context, may):
    assert imports(Draft(Program((), ()), context), Modules(modules)) == may


class Started:
    def __init__(self, modules, count, *, beside, constants):
        self.modules, self.closed = modules, False

    def close(self):
        self.closed = True


@pytest.fixture
def case(tmp_path):
    failure = Failure(Kind.COMPILE_ERROR, Stage.BACKEND, (("E", "no"),), ())
    return Case(tmp_path, Program((), ()), Context(), failure)


@pytest.fixture
def early(monkeypatch):
    monkeypatch.setattr("torchcrux.pools.Ahead", Started)
    monkeypatch.setattr("torchcrux.pools.available_memory", lambda: 2**40)
    monkeypatch.setattr(Early, "_start", lambda self: Idle())
    with Early(1, "torch.compile(f)") as started:
        yield started


class Idle:
    jobs, env = 1, {"TORCHINDUCTOR_CACHE_DIR": "/nowhere/cache"}

    def preload(self, entries):
        pass

    def ready_children(self, function):
        pass

    def close(self):
        pass


def test_a_case_says_what_its_script_will_import(early, case):
    changed = replace(case, context=Context(config=CONFIG))
    assert early.ahead(changed).modules == EVERY_SCRIPT


def test_as_long_as_there_is_none_the_text_does(early, case):
    early.failed(None)
    assert early.ahead(case).modules == EVERY_SCRIPT + WITH_INDUCTOR


def test_they_end_with_what_has_started_them(early, case):
    ahead = early.ahead(case)
    early.__exit__()
    assert ahead.closed


@pytest.mark.parametrize("kind", [Kind.HANG, Kind.SLOW_COMPILE, Kind.MEMORY])
def test_none_for_what_is_about_time_or_memory(early, case, kind):
    failure = replace(case.failure, kind=kind, metric={"bound": 1.0})
    assert early.ahead(replace(case, failure=failure)) is None


def test_none_where_memory_is_scarce(early, case, monkeypatch):
    monkeypatch.setattr("torchcrux.pools.available_memory", lambda: 2**30)
    assert early.ahead(case) is None
