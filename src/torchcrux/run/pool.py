"""Tasks in, outcomes out: a pool of children that may do their worst."""

from __future__ import annotations

import itertools
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from torchcrux.run import protocol
from torchcrux.run.limits import default_jobs
from torchcrux.run.server_process import PoolError, ServerDiedError, ServerProcess
from torchcrux.run.task import Outcome, Status, Task

MOST_ASKED = 3
"""Times that one task is given to a server before it counts as what kills the server."""


class Pool:
    """Judges tasks in children forked from a server that has imported what they need.

    Starting it takes no time: the server imports in the background, and the first `run` waits for
    it. A pool belongs to one thread at a time. Use it as a context manager, or `close` it: nothing
    that a task started outlives the pool.
    """

    def __init__(
        self,
        *,
        jobs: int | None = None,
        preload: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        scratch: Path | None = None,
        memory: int | None = None,
        reuse: bool = False,
        between: str = "",
    ) -> None:
        """`jobs` children at most run at the same time; by default what cores and memory allow.

        `preload` are modules that the server imports, and functions ("module:function") that it
        calls once; they must start no thread and touch no accelerator. A process that such a
        function leaves to work beside, by returning its number, ends with the server at the latest.
        `env` goes over the environment of this process. The children work in directories of their
        own under `scratch` (by default under the system's), which are removed after them. `memory`
        is in bytes, for a child with all that it started. With `reuse` every task is one that
        reuses its child: a child judges such tasks one after another until one ends other than
        `DONE`; and an outcome other than `DONE` counts only if the task was the first in its child.
        `between` ("module:function") is then called in a child before its first task; what it
        returns is called after each task to put things back, and says whether the child is fit for
        another.
        """
        self.jobs = default_jobs() if jobs is None else jobs
        if self.jobs < 1:
            raise ValueError(f"jobs is {jobs}; at least 1 is needed")
        self._preload = tuple(preload)
        self.env = dict(env or {})
        self._memory = memory
        self._reuse = reuse
        self._between = between
        self.yields = False
        """Whether children that are begun from here on leave the cores to other processes that
        want them. One that is to be used again cannot take that back, and does not."""
        self._identities = itertools.count()
        self._scratch = tempfile.TemporaryDirectory(prefix="torchcrux-", dir=scratch)
        self._server: ServerProcess | None = self._start()
        self._closed = self._readied = False

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def preload(self, entries: Sequence[str]) -> None:
        """Have the server import and call more, as the argument `preload`, before the next task.

        What it has already is left out. It must be called between two `run`.
        """
        fresh = tuple(entry for entry in entries if entry not in self._preload)
        self._preload += fresh
        try:
            if fresh and self._server is not None:
                self._server.preload(fresh)
        except ServerDiedError:
            self._stop()  # the next one imports it at its start

    def ready_children(self, function: str) -> None:
        """Have as many children as may run at the same time started, ahead of their tasks, each of
        which calls `function` ("module:function", with an empty payload).

        Only the first call counts, and only with `reuse`: other children are ready as they are.
        """
        if not self._reuse or self._readied:
            return
        self._readied = True
        try:
            if self._server is not None:
                self._server.ready_children(function)
        except ServerDiedError:
            self._stop()

    def run(
        self,
        tasks: Sequence[Task],
        told: Callable[[int, Outcome], None] = lambda index, outcome: None,
    ) -> list[Outcome]:
        """The outcomes, in the order of `tasks`; each is `told`, with its index, as soon as it is
        known.

        Raises `PoolError` when no server can be had, and `TypeError` for a payload that is not
        JSON. After any exception, Ctrl-C too, none of the tasks runs any more.
        """
        if self._closed:
            raise PoolError("The pool is closed. Make a new one.")
        round_ = _Round(
            {
                identity: protocol.encode(self._message(identity, task))
                for identity, task in zip(self._identities, tasks, strict=False)
            },
            self.jobs,
        )
        try:
            while not round_.is_over:
                known = self._advance(round_)
                if known is not None:
                    told(*known)
        except BaseException:
            self._stop()
            raise
        return round_.results()

    def close(self) -> None:
        """End everything. May be called twice."""
        self._closed = True
        self._stop()
        self._scratch.cleanup()

    def _advance(self, round_: _Round) -> tuple[int, Outcome] | None:
        if self._server is None:
            self._server = self._start()
        self._server.wait_until_ready()
        try:
            for frame in round_.ask():
                self._server.send(frame)
            message = self._server.receive()
        except ServerDiedError:
            self._stop()
            round_.server_died()
            return None
        outcome = Outcome.from_json(message["outcome"])
        return round_.answer(message["identity"], outcome), outcome

    def _message(self, identity: int, task: Task) -> dict[str, object]:
        reuse = self._reuse or task.reuse
        return {
            "identity": identity,
            "function": task.function,
            "payload": dict(task.payload),
            "timeout": task.timeout,
            "reuse": reuse,
            "yields": self.yields and not reuse,
        }

    def _start(self) -> ServerProcess:
        return ServerProcess(
            Path(tempfile.mkdtemp(dir=self._scratch.name)),
            jobs=self.jobs,
            memory=self._memory,
            preload=self._preload,
            env=self.env,
            between=self._between,
        )

    def _stop(self) -> None:
        if self._server is not None:
            self._server.stop()
        self._server = None


class _Round:
    """Which tasks of one `run` are to be asked, are being judged, and are answered.

    When the server dies, each task that was being judged may be the reason. They are asked again
    one at a time, so that a task that kills servers takes no other along.
    """

    def __init__(self, frames: Mapping[int, bytes], jobs: int) -> None:
        self._frames = frames
        self._places = {identity: place for place, identity in enumerate(frames)}
        self._jobs = jobs
        self._waiting = deque(frames)
        self._suspects: deque[int] = deque()
        self._flying: set[int] = set()
        self._alone = False
        self._asked: Counter[int] = Counter()
        self._outcomes: dict[int, Outcome] = {}

    @property
    def is_over(self) -> bool:
        return len(self._outcomes) == len(self._frames)

    def results(self) -> list[Outcome]:
        return [self._outcomes[identity] for identity in self._frames]

    def ask(self) -> list[bytes]:
        """What to send now."""
        chosen: list[int] = []
        if not self._flying:
            self._alone = bool(self._suspects)
            if self._alone:
                chosen = [self._suspects.popleft()]
        if not self._alone and not self._suspects:
            while self._waiting and len(self._flying) + len(chosen) < self._jobs:
                chosen.append(self._waiting.popleft())
        self._flying.update(chosen)
        self._asked.update(chosen)
        return [self._frames[identity] for identity in chosen]

    def answer(self, identity: int, outcome: Outcome) -> int:
        """The index of the task that is answered."""
        self._flying.discard(identity)
        self._outcomes[identity] = outcome
        return self._places[identity]

    def server_died(self) -> None:
        for identity in sorted(self._flying):
            if self._asked[identity] < MOST_ASKED:
                self._suspects.append(identity)
            else:
                error = f"the server died each of the {MOST_ASKED} times that it judged this task"
                self._outcomes[identity] = Outcome(Status.LOST, error=error)
        self._flying.clear()
