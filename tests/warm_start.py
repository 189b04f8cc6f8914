"""Watched scripts that start from a process which has imported torch: some seconds less for each.

Only for tests whose subject is not how a script starts: here torch is there before it is imported,
as under a `sitecustomize` that imports it.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from torchcrux.capturing import script

TICK = 0.02

SERVER = """
import gc, json, os, select, socket, sys

line = socket.socket(fileno=int(sys.argv[1]))
import torch
from torchcrux.oracle._torch import compile_once
compile_once()
gc.freeze()
running = set()
while True:
    if select.select([line], [], [], 0.02)[0]:
        message, passed, _, _ = socket.recv_fds(line, 1 << 20, 3)
        if not message:
            sys.exit()
        asked = json.loads(message)
        pid = os.fork()
        if pid == 0:
            break
        for descriptor in passed:
            os.close(descriptor)
        running.add(pid)
        line.send(json.dumps(["started", pid]).encode())
    for pid in [*running]:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            running.discard(pid)
            line.send(json.dumps([pid, os.waitstatus_to_exitcode(status)]).encode())
line.close()
for number, descriptor in enumerate(passed):
    os.dup2(descriptor, number)
    os.close(descriptor)
os.chdir(asked["folder"])
os.environ.clear()
os.environ.update(asked["environment"])
sys.argv = ["-c", *asked["arguments"]]
code = asked["code"]
for name in ("gc", "json", "os", "select", "socket", "line", "torch", "compile_once", "running",
             "message", "passed", "asked", "pid", "number", "descriptor", "ended", "status"):
    globals().pop(name, None)
exec(code)
"""


class WarmStart:
    """What forks."""

    def __init__(self) -> None:
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-c", SERVER, str(theirs.fileno())]
        self._server = subprocess.Popen(command, pass_fds=[theirs.fileno()])
        theirs.close()
        self.ended: dict[int, int] = {}

    def close(self) -> None:
        self._line.close()
        self._server.wait()

    def popen(
        self,
        command: Sequence[str],
        env: Mapping[str, str] | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
    ) -> Forked:
        executable, option, code, *arguments = command
        assert (executable, option) == (sys.executable, "-c"), command
        asked = {
            "code": code,
            "arguments": arguments,
            "folder": os.getcwd(),
            "environment": dict(os.environ if env is None else env),
        }
        with open(os.devnull, "r+b") as nowhere:
            quiet = {subprocess.DEVNULL: nowhere.fileno()}
            passed = [0, quiet.get(stdout, 1), quiet.get(stderr, 2)]
            socket.send_fds(self._line, [json.dumps(asked).encode()], passed)
            while (message := self._next(wait=True))[0] != "started":
                self.ended[message[0]] = message[1]
        return Forked(self, message[1])

    def look(self) -> None:
        while (message := self._next(wait=False)) is not None:
            self.ended[message[0]] = message[1]

    def _next(self, *, wait: bool) -> Any:
        try:
            message = self._line.recv(1 << 16, 0 if wait else socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        assert message, "the process that starts the scripts of tests has ended"
        return json.loads(message)


class Forked:
    """As much of `subprocess.Popen` as a watched script needs."""

    def __init__(self, start: WarmStart, pid: int) -> None:
        self._start, self.pid = start, pid

    def poll(self) -> int | None:
        self._start.look()
        return self._start.ended.get(self.pid)

    def wait(self, timeout: float = float("inf")) -> int:
        until = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired("a script", timeout)
            time.sleep(TICK)
        return code

    def terminate(self) -> None:
        os.kill(self.pid, 15)

    def kill(self) -> None:
        os.kill(self.pid, 9)


@contextmanager
def warm_scripts() -> Iterator[Callable[[pytest.MonkeyPatch], None]]:
    """What makes `run_script` start them so."""
    start = WarmStart()
    names = SimpleNamespace(Popen=start.popen, DEVNULL=subprocess.DEVNULL)
    yield lambda patch: patch.setattr(script, "subprocess", names)
    start.close()
