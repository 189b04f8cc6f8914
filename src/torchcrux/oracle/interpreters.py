"""Interpreters that run one script each; some have imported torch before the script is known.

What a script imports takes longer than most scripts. An interpreter that is started ahead does
only that, in the order in which the script would: it is as new as any other when its script begins.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

_PREFIX = "torchcrux-verify-"
_STDERR = "stderr"
_BLOCKED = 'raise ImportError("a repro runs without torchcrux")\n'

AHEAD = """\
import importlib, os, sys, types

os.nice(5)
for entry in sys.argv[1:]:
    name, _, function = entry.partition(":")
    try:
        getattr(importlib.import_module(name), function, int)()
    except Exception:
        pass  # the script will meet it, if it needs that
os.write(1, b"1")
path = sys.stdin.readline()[:-1]
if not path:
    sys.exit()
nothing = os.open(os.devnull, os.O_RDWR)
os.dup2(nothing, 0)
os.dup2(nothing, 1)
os.close(nothing)
sys.stdin = open(0)
sys.argv, sys.path[0] = [path], os.path.dirname(path)
main = sys.modules["__main__"] = types.ModuleType("__main__")
main.__file__, main.__builtins__ = path, __builtins__
with open(path, encoding="utf-8") as file:
    code = compile(file.read(), path, "exec")
try:
    exec(code, main.__dict__)
except Exception as error:
    error.__traceback__ = error.__traceback__.tb_next
    sys.excepthook(type(error), error, error.__traceback__)
    sys.exit(1)
"""
"""Gives way to what searches meanwhile, and ends if nobody is left to name a script. The script
runs as the main module, and its traceback begins with its own line."""


class Interpreter:
    """A process without torchcrux, whose caches of compilers lie below `folder`: they hold a copy
    of `constants`, if there is such a folder. One that `waits` runs its script when told to."""

    def __init__(
        self, folder: Path, constants: Path | None, arguments: Sequence[str], *, waits: bool = False
    ) -> None:
        self._cache = folder / "cache"
        self._stderr = folder / _STDERR
        self._lay(constants)
        blocker = folder / "blocked"
        blocker.mkdir(parents=True)
        (blocker / "torchcrux.py").write_text(_BLOCKED)
        environment = dict(os.environ)
        paths = [str(blocker), *filter(None, [environment.get("PYTHONPATH")])]
        environment["PYTHONPATH"] = os.pathsep.join(paths)
        environment["TORCHINDUCTOR_CACHE_DIR"] = str(self._cache)
        with self._stderr.open("wb") as stderr:  # a pipe would have to be read meanwhile
            self._process = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.PIPE if waits else subprocess.DEVNULL,
                stdout=subprocess.PIPE if waits else subprocess.DEVNULL,
                stderr=stderr,
                env=environment,
                start_new_session=True,
            )

    def await_ready(self) -> None:
        """Until it has imported what it was to import, or has ended."""
        assert self._process.stdout is not None
        self._process.stdout.read(1)

    def _lay(self, constants: Path | None) -> None:
        if constants is not None and constants.exists():
            shutil.copytree(constants, self._cache, dirs_exist_ok=True)

    def begin(self, script: Path, constants: Path | None) -> None:
        """Have one that waits run `script`."""
        assert self._process.stdin is not None
        self._lay(constants)
        with suppress(BrokenPipeError):  # it has ended; its status tells
            self._process.stdin.write(f"{script.resolve()}\n".encode())
            self._process.stdin.close()

    def wait(self, timeout: float | None = None) -> int | None:
        """Its exit status, negative for a signal; it is killed after `timeout` seconds, and has
        none then."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.end()
            return None

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def stderr(self) -> str:
        return self._stderr.read_text(encoding="utf-8", errors="replace")

    def end(self) -> None:
        """Kill it, with what it has started, if it still runs."""
        if not self.has_ended:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()


class Scratch:
    """A folder for interpreters, which removes it at its end."""

    def __init__(self) -> None:
        # What an interpreter has started may live a little longer, and write there.
        self._folder = tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True)
        self._count = 0

    def new(self) -> Path:
        self._count += 1
        return Path(self._folder.name, str(self._count))

    def close(self) -> None:
        self._folder.cleanup()


class Ahead:
    """At most `count` interpreters that import modules, and call functions ("module:function") of
    theirs; functions only if there is what a compiler knows of the machine, since it would be found
    out anew. `beside` of them do so at the same time.

    To be used from one thread, and closed: what was not taken ends then.
    """

    def __init__(
        self, modules: Sequence[str], count: int, *, beside: int, constants: Path | None = None
    ) -> None:
        self.modules = tuple(modules)
        self._count = count
        self._constants = constants
        self._scratch = Scratch()
        self._started: list[Interpreter] = []
        self._waiting: deque[Interpreter] = deque()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._fill, daemon=True) for _ in range(beside)]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        with self._lock:
            self._count = 0
        for one in self._started:
            one.end()
        for thread in self._threads:
            thread.join()
        self._scratch.close()

    def _fill(self) -> None:
        while True:
            with self._lock:
                if len(self._started) >= self._count:
                    return
                known = self._constants is not None and self._constants.exists()
                entries = [one for one in self.modules if known or ":" not in one]
                arguments = ["-c", AHEAD, *entries]
                one = Interpreter(self._scratch.new(), self._constants, arguments, waits=True)
                self._started.append(one)
                self._waiting.append(one)
            one.await_ready()

    def begun(self, script: Path, constants: Path | None) -> Interpreter | None:
        """One of them, which runs `script` now; None if none is left."""
        with self._lock:
            while self._waiting and self._waiting[0].has_ended:
                self._waiting.popleft()
            if not self._waiting:
                self._count = 0  # another would come too late
                return None
            one = self._waiting.popleft()
        one.begin(script, constants)
        return one
