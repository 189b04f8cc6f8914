"""Inductor's test programs for vector instructions: built and loaded once, and known to the rest.

A process that compiles C++ asks for them first. They take it seconds, and an accelerator's build of
PyTorch a minute.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import importlib
import json
import os
import shutil
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from torchcrux import machine
from torchcrux.oracle.compiling import CACHE_DIR, link_all, tests_of_instructions
from torchcrux.run import linux
from torchcrux.run.child import NICENESS


def probe_instruction_sets() -> dict[str, bool]:
    """Find out once, before any fork, which vector instructions Inductor's C++ code may use; what
    came of each test program, for `know_instruction_sets`.

    Each process that compiles would otherwise build and load up to three of them for each set of
    instructions. `torch._inductor.cpu_vec_isa.supported_vec_isa_list` and `x86_isa_checker`, 2.4 to
    2.13. They are built and loaded side by side, by forks of this process.
    """
    module = importlib.import_module("torch._inductor.cpu_vec_isa")
    has = set(getattr(module, "x86_isa_checker", list)())
    found: dict[str, bool] = {}
    answers = {}
    for isa in getattr(module, "supported_vec_isa_list", ()):
        if not has.issuperset(str(isa).split()):
            continue
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.write(writer, json.dumps(_tested(isa)).encode())
            finally:
                os._exit(0)
        os.close(writer)
        answers[child] = reader
    for child, reader in answers.items():
        with os.fdopen(reader) as answer:
            found.update(json.loads(answer.read() or "{}"))
        os.waitpid(child, 0)
    know_instruction_sets(found)
    return found


def _tested(isa: object) -> dict[str, bool]:
    """What comes of the test programs of a set of instructions."""
    found: dict[str, bool] = {}
    with _looked_up(lambda: found):
        bool(isa)
    return found


def know_instruction_sets(found: dict[str, bool]) -> None:
    """Settle for this process which vector instructions there are, without the test programs whose
    outcome was `found`. `torch._inductor.cpu_vec_isa.valid_vec_isa_list` (cached), 2.4 to 2.13."""
    module = importlib.import_module("torch._inductor.cpu_vec_isa")
    with _looked_up(lambda: found):
        getattr(module, "valid_vec_isa_list", list)()


@functools.cache
def look_up_instruction_sets(cache: Path) -> object:
    """Which vector instructions there are, `probe_inductor_beside` has found out or is about to:
    Inductor waits for that in this process, when it wants to know.

    What is returned is to be kept: it would be taken back with it.
    """
    looked_up = _looked_up(functools.cache(functools.partial(_probed, cache)))
    looked_up.__enter__()
    return looked_up


def _probed(cache: Path) -> dict[str, bool]:
    tests = tests_of_instructions(cache)
    try:
        with tests.with_suffix(".lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
        return dict(json.loads(tests.read_text()))
    except FileNotFoundError:
        return {}


@contextlib.contextmanager
def _looked_up(found: Callable[[], dict[str, bool]]) -> Iterator[None]:
    """Inside, no test program is built and loaded whose outcome is in `found`; those of others are
    noted there. `torch._inductor.cpu_vec_isa.VecISA.check_build`, 2.4 to 2.13."""
    cls: Any = importlib.import_module("torch._inductor.cpu_vec_isa").VecISA
    original = getattr(cls, "check_build", None)
    if original is None:
        yield
        return

    def check_build(self: Any, code: str) -> bool:
        key = f"{self}: {hashlib.sha256(code.encode()).hexdigest()}"
        if key not in found():
            found()[key] = bool(original(self, code))
        return found()[key]

    with mock.patch.object(cls, "check_build", check_build):
        yield


def probe_inductor() -> dict[str, bool]:
    """Find out what Inductor asks of the machine: into its cache and, by itself, aside, for the
    fresh interpreters that verify. What came of each test program, as `know_instruction_sets` takes
    it."""
    cache = Path(os.environ[CACHE_DIR])
    own = cache.with_name(f"probed-{os.getpid()}")  # a server that follows another finds kernels
    own.mkdir(parents=True)
    os.environ[CACHE_DIR] = str(own)
    try:
        machine.recall(own)
        found = probe_instruction_sets()
        machine.keep(own)
    finally:
        os.environ[CACHE_DIR] = str(cache)
    link_all(own, cache)
    try:
        own.rename(cache.with_name("constants"))
    except OSError:  # another process was faster
        shutil.rmtree(own)
    return found


def probe_inductor_beside() -> int:
    """In a process that ends, whose number is returned: one that has asked an accelerator's driver
    cannot be forked. What is found out comes into the compiler's cache as a whole, at the end."""
    parent = os.getpid()
    shared = Path(os.environ[CACHE_DIR])
    shared.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(tests_of_instructions(shared).with_suffix(".lock"), os.O_CREAT | os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    child = os.fork()
    if child:
        os.close(lock)
        return child
    status = 1
    try:
        linux.die_with(parent)
        os.nice(NICENESS)
        found = shared.with_name(f"found-{os.getpid()}")
        found.write_text(json.dumps(probe_inductor()))
        found.rename(tests_of_instructions(shared))
        status = 0
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(status)
