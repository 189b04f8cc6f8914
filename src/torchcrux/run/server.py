"""The process that forks: it has imported what is slow to import, and initialised nothing.

One thread, one loop. It reads tasks from its channel, forks a child for each, drains their pipes,
enforces their limits, buries them with all their descendants, and writes the outcomes back.

Whose a process is needs no book-keeping: each child adopts the orphans below it, so while it lives
all that its task started hangs below it. Whatever hangs directly below the server and is not a
living child was left behind by a task that is over.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torchcrux.run import guard, linux, processes, protocol, verdict
from torchcrux.run.settings import Settings
from torchcrux.run.task import Outcome, Status
from torchcrux.run.worker import Ask, Ending, Worker, remove

PRELOAD = "preload"
"""The key of a message that is no task: what to import and call before the next one."""

READY = "ready"
"""The key of another: what each child that is started now, ahead of its tasks, is to call."""

ATTEMPTS = 3
"""Times that a task is given to a child, when the child fails before the task begins."""

_IDLE = 1.0
"""Seconds between two looks at whether the parent is alive."""
_BURIAL = 0.01
_LONGEST_START = 120.0
"""Seconds for a child to get ready."""
_PATIENCE = 5.0
"""Seconds to wait for killed processes that do not die (they hang in the kernel)."""


class Server:
    def __init__(self, settings: Settings, helpers: Iterable[int] = ()) -> None:
        """`helpers` are processes that work beside the children, and end with the server."""
        self._settings = settings
        self._helpers = {*helpers}
        self._scratch = Path(settings.scratch)
        self._channel = socket.socket(fileno=settings.channel)
        self._channel.setblocking(False)
        self._decoder = protocol.Decoder()
        self._outgoing = bytearray()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._channel, selectors.EVENT_READ)
        self._wakeup, self._alarm = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._selector.register(self._wakeup, selectors.EVENT_READ)
        signal.set_wakeup_fd(self._alarm, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._on_sigterm)
        self._queue: deque[Ask] = deque()
        self._working: dict[int, Worker] = {}
        self._idle: dict[int, Worker] = {}
        self._retired: dict[int, Worker] = {}
        self._ended: list[Worker] = []
        self._guard = guard.Guard(settings.memory)
        self._before = frozenset(processes.children(os.getpid())) - self._helpers
        self._open = True

    def _on_sigterm(self, *_: object) -> None:
        self._open = False

    def serve(self) -> None:
        """Until the channel is closed or the parent is gone."""
        self._send({"kind": "ready", "pid": os.getpid()})
        try:
            while self._open and os.getppid() == self._settings.parent:
                self._fill()
                self._wait()
                self._reap()
                for worker in self._working.values():
                    self._guard.look(worker)
                self._bury()
        finally:
            self._end_all()

    def _fill(self) -> None:
        while self._queue and len(self._working) + len(self._ended) < self._settings.jobs:
            ask = self._queue.popleft()
            try:
                worker = self._place(ask)
            except OSError as error:
                remove(self._scratch / f"{ask.identity}.{ask.attempts}")
                self._report(ask, Outcome(Status.LOST, error=f"no child could be started: {error}"))
            else:
                self._working[worker.pid] = worker

    def _place(self, ask: Ask) -> Worker:
        while ask.reuse and not ask.prepares:
            waiting = [pid for pid, one in self._idle.items() if one.is_fresh or not ask.fresh]
            if not waiting:
                break
            pid = waiting[-1]
            worker = self._idle.pop(pid)
            try:
                worker.assign(ask)
            except BrokenPipeError:
                worker.release()
                self._retire(pid, worker)
            else:
                return worker
        # A child beyond the number of jobs would hold an accelerator for nothing.
        if ask.reuse and len(self._working) + len(self._idle) >= self._settings.jobs:
            self._retire(*self._idle.popitem())
        worker = Worker(
            ask,
            self._scratch,
            between=self._settings.between,
            close=self._descriptors(),
        )
        for descriptor in worker.readers:
            self._selector.register(descriptor, selectors.EVENT_READ, worker)
        return worker

    def _descriptors(self) -> list[int]:
        mine = [self._channel.fileno(), self._wakeup, self._alarm]
        if isinstance(self._selector, selectors.EpollSelector):
            mine.append(self._selector.fileno())
        living = (*self._working.values(), *self._idle.values(), *self._retired.values())
        workers = [*living, *self._ended]
        return mine + [descriptor for worker in workers for descriptor in worker.descriptors()]

    def _wait(self) -> None:
        for key, events in self._selector.select(self._patience()):
            if isinstance(key.data, Worker):
                if not key.data.read(key.fd):
                    self._selector.unregister(key.fd)
            elif key.fileobj is self._channel:
                self._talk(events)
            else:
                os.read(self._wakeup, 4096)
        for worker in [*self._working.values()]:
            self._keep(worker)

    def _patience(self) -> float:
        if self._ended:
            return _BURIAL
        now = time.monotonic()
        return min(
            [_IDLE, *(self._guard.next_look(worker, now) for worker in self._working.values())]
        )

    def _talk(self, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._push()
        if events & selectors.EVENT_READ:
            try:
                data = self._channel.recv(2**20)
            except (BlockingIOError, ConnectionResetError):
                return
            self._open = self._open and bool(data)
            for message in self._decoder.feed(data):
                if message.keys() == {PRELOAD}:
                    self._helpers.update(preload(message[PRELOAD]))
                elif message.keys() == {READY}:
                    self._ready_children(message[READY])
                else:
                    self._queue.append(Ask(**message))

    def _ready_children(self, function: str) -> None:
        for number in range(self._settings.jobs - len(self._working) - len(self._idle)):
            ask = Ask(-1 - number, function, {}, _LONGEST_START, reuse=True, prepares=True)
            self._queue.append(ask)

    def _send(self, message: Mapping[str, Any]) -> None:
        self._outgoing += protocol.encode(message)
        self._push()

    def _push(self) -> None:
        try:
            del self._outgoing[: self._channel.send(self._outgoing)]
        except BlockingIOError:
            pass
        except (BrokenPipeError, ConnectionResetError):
            self._open = False
        write = selectors.EVENT_WRITE if self._outgoing else 0
        self._selector.modify(self._channel, selectors.EVENT_READ | write)

    def _keep(self, worker: Worker) -> None:
        """Take the outcome of a child that has given its result and waits for more."""
        job = worker.job
        if job is None or job.frame is None or not job.frame["stays"] or job.killed is not None:
            return
        clean = self._guard.clear_below(worker.pid)
        worker.drain()
        fields = verdict.of_frame(job.frame)
        outcome = self._outcome(worker, fields, time.monotonic(), processes.peak(worker.pid))
        del self._working[worker.pid]
        worker.release()
        if clean:
            self._idle[worker.pid] = worker
        else:
            self._retire(worker.pid, worker)
        self._report(job.ask, outcome)

    def _retire(self, pid: int, worker: Worker) -> None:
        """End a child that has no task."""
        self._retired[pid] = worker
        processes.kill([pid])

    def _reap(self) -> None:
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None:
                return
            pid = found.si_pid
            self._helpers.discard(pid)
            worker = None
            for group in (self._working, self._idle, self._retired):
                worker = group.pop(pid, None) or worker
            if worker is not None:
                # Before the wait, while the number still is this child's.
                processes.kill_group(pid)
            _, status, usage = os.wait4(pid, 0)
            if worker is not None:
                worker.ending = Ending(status, time.monotonic(), usage.ru_maxrss * 1024)
                self._ended.append(worker)

    def _bury(self) -> None:
        if not self._ended:
            return
        ours = self._before | self._working.keys() | self._idle.keys() | self._retired.keys()
        ours |= self._helpers
        strays = [pid for pid in processes.children(os.getpid()) if pid not in ours]
        if strays:
            processes.kill(
                [*strays, *(pid for stray in strays for pid in processes.descendants(stray))]
            )
            now = time.monotonic()
            done = [w for w in self._ended if w.ending and now - w.ending.when > _PATIENCE]
        else:
            done = self._ended
        self._ended = [worker for worker in self._ended if worker not in done]
        for worker in done:
            self._conclude(worker)

    def _conclude(self, worker: Worker) -> None:
        worker.drain()
        job, ending = worker.job, worker.ending
        outcome = None
        if job is not None and ending is not None:
            fields = verdict.judge(job, ending, linux.oom_kills())
            outcome = self._outcome(worker, fields, ending.when, ending.peak)
        for descriptor in worker.readers:
            if descriptor in self._selector.get_map():
                self._selector.unregister(descriptor)
        worker.close()
        self._guard.forget(worker.pid)
        if job is None or outcome is None:
            return
        ours = not job.begun and job.ask.attempts < ATTEMPTS
        # What earlier tasks left in the child may have caused it: ask where nothing was before.
        doubtful = not job.first and outcome.status is not Status.DONE
        if ours or doubtful:
            job.ask.fresh = True
            self._queue.appendleft(job.ask)
        else:
            self._report(job.ask, outcome)

    @staticmethod
    def _outcome(
        worker: Worker, fields: Mapping[str, Any], ended: float, peak: int | None
    ) -> Outcome:
        assert worker.job is not None
        return Outcome(
            **fields,
            stdout=worker.stdout.take(),
            stderr=worker.stderr.take(),
            seconds=ended - worker.job.started,
            stack=worker.dump_text(),
            peak_memory=peak,
        )

    def _report(self, ask: Ask, outcome: Outcome) -> None:
        if not ask.prepares:
            message = {"kind": "outcome", "identity": ask.identity, "outcome": outcome.to_json()}
            self._send(message)

    def _end_all(self) -> None:
        """Kill all below this process, wait for it, and remove the scratch directory."""
        until = time.monotonic() + _PATIENCE
        us = os.getpid()
        while time.monotonic() < until:
            self._reap()
            left = [pid for pid in processes.descendants(us) if pid not in self._before]
            if not left:
                break
            processes.kill(left)
            time.sleep(_BURIAL / 10)
        remove(self._scratch)
        if os.getppid() != self._settings.parent:
            # Nobody is left to remove the directory of the pool.
            remove(self._scratch.parent)


def main() -> None:
    """Entry of the server's interpreter: the settings are its argument, as JSON."""
    settings = Settings(**json.loads(sys.argv[1]))
    del sys.argv[1:]
    if settings.bound:
        # Not SIGKILL: there are children to be killed first.
        linux.die_with(settings.parent, signal.SIGTERM)
    linux.adopt_orphans()
    os.chdir(settings.scratch)
    Server(settings, preload(settings.preload)).serve()


def preload(entries: Sequence[str]) -> list[int]:
    """Import modules, and call functions ("module:function"); the processes that these have left to
    work on beside, by the numbers that they return."""
    helpers = []
    for entry in entries:
        name, _, function = entry.partition(":")
        module = importlib.import_module(name)
        if function:
            left = getattr(module, function)()
            helpers += [left] * (type(left) is int)
    # The children share these objects; a collection would write to every page of them.
    gc.collect()
    gc.freeze()
    return helpers
