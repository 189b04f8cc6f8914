"""The server as the main process sees it: an interpreter to start, to talk to, and to end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torchcrux.run import processes, protocol
from torchcrux.run.settings import Settings

_MARK = "TORCHCRUX_SERVER"
_TAIL = 2**14
"""Bytes of what the server printed that go into an error."""
_GRACE = 10.0
"""Seconds for the server to kill and wait for its children when it is asked to end."""

# The server is of the same code as this process, whatever else is installed; but what it imports
# for the tasks comes from where it always does, and not from the current directory of the caller.
_START = """
import sys
root = sys.argv.pop(1)
places = [place for place in sys.path if place]
sys.path[:] = [root, *places]
from torchcrux.run.server import main
sys.path[:] = places if root in places else [*places, root]
main()
"""


class PoolError(Exception):
    """No children can be had: the server does not start, or the pool is closed."""


class ServerDiedError(Exception):
    """The server is gone; what it was asked and has not answered must be asked again."""


class ServerProcess:
    """A running server. It imports in the background until `wait_until_ready`."""

    def __init__(
        self,
        scratch: Path,
        *,
        jobs: int,
        memory: int | None,
        preload: Sequence[str],
        env: Mapping[str, str],
        between: str = "",
    ) -> None:
        self._mark = uuid.uuid4().hex
        self._ready = False
        self._decoder = protocol.Decoder()
        self._messages: deque[Any] = deque()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115
        self._channel, theirs = socket.socketpair()
        settings = Settings(
            channel=theirs.fileno(),
            parent=os.getpid(),
            # The kernel's notice goes by thread; that of a thread that is done means nothing.
            bound=threading.current_thread() is threading.main_thread(),
            scratch=str(scratch),
            jobs=jobs,
            memory=memory,
            preload=tuple(preload),
            between=between,
        )
        root = str(Path(__file__).resolve().parents[2])
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, root, json.dumps(asdict(settings))],
                stdin=subprocess.DEVNULL,
                stdout=self._stderr,
                stderr=self._stderr,
                env=self._environment(env),
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_until_ready(self) -> None:
        """Raises `PoolError`, with what the server printed, if it ends before."""
        if self._ready:
            return
        try:
            message = self._next()
        except ServerDiedError:
            status = self._process.wait()
            self._stderr.seek(0)
            text = self._stderr.read()[-_TAIL:].decode(errors="replace").strip()
            raise PoolError(
                f"The server that forks the children did not start (status {status}). "
                f"Nothing was run. It printed:\n{text}"
            ) from None
        assert message["kind"] == "ready"
        self._ready = True

    def send(self, frame: bytes) -> None:
        """Raises `ServerDiedError`. The server always reads, so this does not wait for long."""
        try:
            self._channel.sendall(frame)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ServerDiedError from error

    def preload(self, entries: Sequence[str]) -> None:
        """Have it import and call more. Raises `ServerDiedError`."""
        self.send(protocol.encode({"preload": list(entries)}))

    def ready_children(self, function: str) -> None:
        """Have it start children that call `function`. Raises `ServerDiedError`."""
        self.send(protocol.encode({"ready": function}))

    def receive(self) -> Any:
        """Waits for the next message. Raises `ServerDiedError` after the last one."""
        return self._next()

    def stop(self) -> None:
        """End the server with all that descends from it."""
        try:
            # Also where a fork of this process holds a copy of the socket.
            self._channel.shutdown(socket.SHUT_RDWR)
        except OSError:
            self._ready = False  # it is gone already, and left its children to the kernel
        try:
            if self._ready:
                self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self._end()

    def _end(self) -> None:
        self._channel.close()
        self._stderr.close()
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        if self._process.wait() != 0:
            processes.kill_marked(f"{_MARK}={self._mark}")

    def _next(self) -> Any:
        while not self._messages:
            try:
                data = self._channel.recv(2**20)
            except ConnectionResetError:
                data = b""
            if not data:
                raise ServerDiedError
            self._messages.extend(self._decoder.feed(data))
        return self._messages.popleft()

    def _environment(self, env: Mapping[str, str]) -> dict[str, str]:
        """That of this process, `env` over it, and a mark to know all descendants by."""
        merged = {**os.environ, **env, _MARK: self._mark}
        if "PYTHONPATH" in merged:
            # The children live in directories of their own.
            places = merged["PYTHONPATH"].split(os.pathsep)
            merged["PYTHONPATH"] = os.pathsep.join(str(Path(place).absolute()) for place in places)
        return merged
