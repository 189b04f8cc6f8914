"""`MinifierTestBase`: a backend's failure caught, reduced and run again, as one assertion."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torchcrux.case import Case
from torchcrux.oracle.failure import Failure, Kind
from torchcrux.program.ir import Program
from torchcrux.run import Pool
from torchcrux.testing import _torch

ACCURACY = "AccuracyError"


@dataclass(frozen=True)
class MinifierTestResult:
    """What was captured and what is left of it, each as the text of a module."""

    captured: Program
    reduced: Program
    repro_code: str

    def minifier_module(self) -> str:
        from torchcrux.program.graph import as_text

        return as_text(self.captured)

    def repro_module(self) -> str:
        from torchcrux.program.graph import as_text

        return as_text(self.reduced)


class MinifierTestBase(_torch.base_test_case()):  # type: ignore[misc]
    """Subclass it and call `_run_full_test`. Its interface is that of the class of the same name
    that PyTorch's own tests use, so that tests written for the one run with the other."""

    DEBUG_DIR: ClassVar[str] = ""
    _configuration: ClassVar[contextlib.ExitStack]
    _scratch: ClassVar[tempfile.TemporaryDirectory[str]]
    _pools: ClassVar[dict[bool, Pool]]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls._scratch = tempfile.TemporaryDirectory(prefix="torchcrux-tests-")
        cls.DEBUG_DIR = cls._scratch.name
        cls._pools = {}
        cls._configuration = contextlib.ExitStack()
        cls._configuration.enter_context(_torch.quick_compiles())

    @classmethod
    def tearDownClass(cls) -> None:
        cls._configuration.close()
        for pool in cls._pools.values():
            pool.close()
        cls._scratch.cleanup()
        super().tearDownClass()

    def _gen_codegen_fn_patch_code(self, device: str, bug_type: str) -> str:
        """Statements that plant a bug of Inductor's own ("compile_error", "runtime_error",
        "accuracy") in its code generation for `device`."""
        space = "cpp" if device == "cpu" else "triton"
        return (
            f"{_torch.configuration()}\n"
            f"torch._inductor.config.{space}.inject_relu_bug_TESTING_ONLY = {bug_type!r}\n"
        )

    def _run_full_test(
        self,
        run_code: str,
        repro_after: str | None,
        expected_error: str | None,
        *,
        isolate: bool,
        minifier_args: Sequence[Any] = (),
    ) -> MinifierTestResult | None:
        """Run `run_code`, reduce its failure, run the repro.

        `isolate` runs both in processes of their own. `repro_after` and `minifier_args` are taken
        as PyTorch's class takes them and change nothing: the graph that Dynamo hands to the
        backend is captured whatever fails after it. With `expected_error` None it is an error if
        anything fails or is written.
        """
        if repro_after not in ("dynamo", "aot", None):
            raise ValueError(f"repro_after is 'dynamo', 'aot' or None, not {repro_after!r}")
        check = "accuracy" if expected_error in (None, ACCURACY) else "error"
        folder = Path(tempfile.mkdtemp(dir=self.DEBUG_DIR))
        code = f"import torch\n{_torch.configuration()}\n{run_code}\n"
        catch = _catch_isolated if isolate else _catch_here
        caught = catch(code, check, folder)
        if expected_error is None:
            self.assertEqual(caught.status, 0, caught.stderr)
            self.assertIsNone(caught.case)
            return None
        self.assertIn(expected_error, caught.stderr)
        self.assertIsNotNone(caught.case, caught.stderr)
        assert caught.case is not None
        return self._reduce(caught.case, folder, expected_error, isolate)

    def _reduce(
        self, case: Case, folder: Path, expected_error: str, isolate: bool
    ) -> MinifierTestResult:
        from torchcrux.pools import open_pool, uses_inductor
        from torchcrux.session import Options, reduce_case

        assert case.context is not None
        kind = uses_inductor(case.context, case.failure.frames)
        if kind not in self._pools:
            scratch = Path(tempfile.mkdtemp(dir=self.DEBUG_DIR))
            self._pools[kind] = open_pool(None, case, scratch)
        result = reduce_case(case, folder / "out", Options(), self._pools[kind])
        self.assertEqual(result.status, "reduced", result.message)
        self.assertIsNotNone(result.repro)
        self.assertIsNotNone(result.program)
        assert result.repro is not None and result.program is not None
        run = _run_isolated if isolate else _run_here
        code = result.repro.read_text(encoding="utf-8")
        status, stderr = run(result.repro)
        if result.failure is not None and result.failure.kind is Kind.ACCURACY:
            stderr += _as_accuracy(stderr)
        self.assertNotEqual(status, 0)
        self.assertIn(expected_error, stderr)
        assert case.program is not None
        return MinifierTestResult(case.program, result.program, code)


@dataclass(frozen=True)
class _Caught:
    status: int
    stderr: str
    case: Case | None


def _as_accuracy(stderr: str) -> str:
    return f"\n{ACCURACY}: the compiled result is wrong" if "AssertionError" in stderr else ""


def _catch_here(code: str, check: str, folder: Path) -> _Caught:
    from torchcrux.api import observed

    status, stderr = 0, ""
    with observed(folder / "cases", check) as found:
        status, stderr = _execute(code, "<run_code>", {"__name__": "__main__"})
    case = found.case
    if case is not None and case.failure.kind is Kind.ACCURACY:
        status, stderr = 1, stderr + f"\n{ACCURACY}: {case.failure.message}\n"
    return _Caught(status, stderr, case)


def _catch_isolated(code: str, check: str, folder: Path) -> _Caught:
    from torchcrux.capturing.script import run_script

    script = folder / "run_code.py"
    script.write_text(code, encoding="utf-8")
    errors = folder / "stderr"
    with errors.open("w") as stream, _redirected(stream.fileno()):
        caught = run_script(str(script), (), module=False, check=check, folder=folder / "cases")
    stderr = errors.read_text(encoding="utf-8", errors="replace")
    case = caught.case
    if case is not None and case.failure.kind is Kind.ACCURACY:
        stderr += f"\n{ACCURACY}: {case.failure.message}\n"
    return _Caught(caught.status or 0, stderr, case)


@contextlib.contextmanager
def _redirected(descriptor: int) -> Iterator[None]:
    """Child processes started inside write their stderr to `descriptor`."""
    saved = os.dup(2)
    try:
        os.dup2(descriptor, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def _run_isolated(repro: Path) -> tuple[int, str]:
    run = subprocess.run(
        [sys.executable, str(repro)], stderr=subprocess.PIPE, text=True, check=False
    )
    return run.returncode, run.stderr


def _run_here(repro: Path) -> tuple[int, str]:
    code = repro.read_text(encoding="utf-8")
    return _execute(code, str(repro), {"__name__": "__main__", "__file__": str(repro)})


def _execute(code: str, name: str, namespace: dict[str, Any]) -> tuple[int, str]:
    """Run `code` in this process as a script would run; its status and what it said last."""
    stderr = io.StringIO()
    status = 0
    with _torch.restored_configuration():
        try:
            exec(compile(code, name, "exec"), namespace)
        except Exception:
            status = 1
            traceback.print_exc(file=stderr)
    return status, stderr.getvalue()


__all__ = ["Failure", "MinifierTestBase", "MinifierTestResult"]
