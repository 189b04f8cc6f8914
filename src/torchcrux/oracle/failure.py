"""A failure as data: what went wrong, where in the compiler, and the exceptions that say so.

Works on exception objects alone and imports no torch, so that a process without torch can read,
compare and report what another one met.
"""

from __future__ import annotations

import re
import sys
import sysconfig
import traceback as tracebacks
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from pathlib import PurePath
from types import FrameType
from typing import Any

from torchcrux.oracle.kernels import refused_kernel
from torchcrux.oracle.message import gist, statement, without_notes
from torchcrux.oracle.printed import FRAME, subprocess_part, unpacked


class Kind(str, Enum):
    COMPILE_ERROR = "compile_error"
    RUNTIME_ERROR = "runtime_error"
    ACCURACY = "accuracy"
    CRASH = "crash"
    HANG = "hang"
    SLOW_COMPILE = "slow_compile"
    MEMORY = "memory"
    FRONTEND = "frontend"


class Stage(str, Enum):
    DYNAMO = "dynamo"
    AOT = "aot"
    LOWERING = "lowering"
    CODEGEN = "codegen"
    BACKEND = "backend"
    RUN = "run"
    BACKWARD = "backward"


@dataclass(frozen=True, slots=True)
class Failure:
    """`exceptions` are (qualified type name, message) pairs, outermost first; below a wrapper
    comes what it wraps. `frames` are ``package/path.py:function``, innermost last, without those
    above the compiler. `metric` describes wrong numbers; its ``"attribute"`` is what differs
    (``"values"``, ``"dtype"``, ``"shape"``). `signal` is the number that ended a process. `kernel`
    is the name of the generated kernel that a further compiler refused.
    """

    kind: Kind
    stage: Stage
    exceptions: tuple[tuple[str, str], ...]
    frames: tuple[str, ...]
    signal: int | None = None
    metric: Mapping[str, Any] | None = None
    traceback: str = ""
    kernel: str = ""

    @property
    def exception(self) -> str:
        """Short class name of the most specific exception that the compiler itself defines."""
        return _short(self._cause()[0])

    @property
    def stops_device(self) -> bool:
        """Whether it is an error of an accelerator, after which its process can do nothing there
        any more."""
        return any(is_of_device(name, message) for name, message in self.exceptions)

    @property
    def message(self) -> str:
        """Its message without notes, dumps and compiler command lines; at most 500 characters."""
        return gist(self._cause()[1])

    @property
    def text(self) -> str:
        """All messages of the chain, each once, without the notes that torch appends."""
        return "\n".join(dict.fromkeys(without_notes(message) for _, message in self.exceptions))

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind.value,
            "stage": self.stage.value,
            "exceptions": [list(pair) for pair in self.exceptions],
            "frames": list(self.frames),
            "signal": self.signal,
            "metric": None if self.metric is None else dict(self.metric),
            "traceback": self.traceback,
            "kernel": self.kernel,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Failure:
        """The inverse of `to_json`. Raises KeyError or ValueError for other data."""
        return cls(
            kind=Kind(data["kind"]),
            stage=Stage(data["stage"]),
            exceptions=tuple((str(name), str(text)) for name, text in data["exceptions"]),
            frames=tuple(data["frames"]),
            signal=data.get("signal"),
            metric=data.get("metric"),
            traceback=data.get("traceback", ""),
            kernel=data.get("kernel", ""),
        )

    def _cause(self) -> tuple[str, str]:
        bare = [pair for pair in self.exceptions if _short(pair[0]) not in WRAPPERS]
        bare = bare or list(self.exceptions) or [("", "")]
        own = [pair for pair in bare if _defined_by_compiler(pair[0])]
        return own[-1] if own else bare[0]


WRAPPERS = frozenset({"BackendCompilerFailed"})
"""Exceptions that only say that a backend raised another one."""


_OF_DEVICE = re.compile(r"\b(CUDA|HIP|XPU) error:|\bTriton Error \[\w+\]:")


def is_of_device(exception: str, message: str) -> bool:
    """Whether an exception reports what went wrong on an accelerator: `torch.AcceleratorError` of
    2.8 and newer, before that a RuntimeError. Memory that is used up is not among it."""
    return _short(exception) == "AcceleratorError" or _OF_DEVICE.search(message) is not None


def from_exception(exc: BaseException, *, compiling: bool, backward: bool = False) -> Failure:
    """Describe `exc`.

    `compiling` tells whether the compiler raised it, not what it compiled; exceptions that only
    the compiler raises count as such anyway. `backward` likewise: a traceback that passes through
    the backward of a compiled function says so by itself.
    """
    trace = _frames(exc)
    names = [_name(frame) for frame in trace]
    backward = backward or any(name in _BACKWARD for name in names)
    chain = list(_chain(exc, trace[_entry(names) :]))
    pairs = [pair for error in chain for pair in unpacked(_qualified(error), str(error))]
    exceptions = tuple(dict.fromkeys(pairs))
    names += _frames_in(subprocess_part(str(chain[-1])))
    if exceptions[-1][0].startswith("torch."):
        exceptions += _embedded(exceptions[-1][1])
    types = [name for name, _ in exceptions]
    called = "torch/_dynamo/output_graph.py:_call_user_compiler" in names
    failed = any(_short(name) in ("BackendCompilerFailed", "InductorError") for name in types)
    tracing = any(name.startswith(_FRONTEND) for name in names)
    compiling = compiling or failed or tracing or any(name in _LAZY for name in names)
    before_a_graph = not (called or failed) and (
        tracing or any(name.startswith("torch._dynamo.exc.") for name in types)
    )
    frames = tuple(names[_entry(names) :])
    if before_a_graph:
        kind, stage = Kind.FRONTEND, Stage.DYNAMO
    else:
        kind = Kind.COMPILE_ERROR if compiling else Kind.RUNTIME_ERROR
        stage = Stage.BACKWARD if backward else _stage(frames) if compiling else Stage.RUN
    if any(_short(name) in ("OutOfMemoryError", "MemoryError") for name in types):
        kind = Kind.MEMORY
    printed = "".join(tracebacks.format_exception(type(exc), exc, exc.__traceback__))
    kernel = refused_kernel(trace)
    return Failure(kind, stage, exceptions, frames, traceback=printed, kernel=kernel)


_BACKWARD = frozenset(
    {
        "torch/_functorch/_aot_autograd/runtime_wrappers.py:backward",
        "torch/_functorch/_aot_autograd/runtime_wrappers.py:_backward_impl",
    }
)
_LAZY = frozenset({"torch/_dynamo/backends/common.py:_wrapped_bw_compiler"})
_FRONTEND = ("torch/_dynamo/symbolic_convert.py", "torch/_dynamo/convert_frame.py")
_CODEGEN = re.compile(
    r"torch/_inductor/(codegen/|codecache\.py|cpp_builder\.py|async_compile\.py|runtime/"
    r"|compile_worker/|select_algorithm\.py|autotune_process\.py)"
)
_PLUMBING = re.compile(
    r"torch/(_ops|_compile|utils/_stats|_dynamo/eval_frame|_dynamo/utils|fx/interpreter)\.py:"
)


def _stage(frames: tuple[str, ...]) -> Stage:
    """Which part of the compiler was at work, by the frames below its entry."""
    parts = [f for f in frames if f.startswith(("torch/_inductor/", "torch/_functorch/"))]
    if parts and parts[-1].startswith("torch/_inductor/"):
        graph = [i for i, f in enumerate(parts) if f.startswith("torch/_inductor/graph.py")]
        below = parts[graph[0] :] if graph else parts
        return Stage.CODEGEN if any(map(_CODEGEN.match, below)) else Stage.LOWERING
    telling = [frame for frame in frames if not _PLUMBING.match(frame)]
    inductor = any(frame.startswith("torch/_inductor/") for frame in parts)
    if not inductor and not (telling and telling[-1].startswith("torch/")):
        return Stage.BACKEND
    if any(f.startswith(("torch/_functorch/", "torch/_subclasses/")) for f in telling):
        return Stage.AOT
    return Stage.BACKEND


def _entry(names: list[str]) -> int:
    """Index of the first frame that belongs to the compiler or to what it has compiled."""
    for i, name in enumerate(names):
        if name in _BACKWARD:
            return i
    for wanted in (
        "torch/_dynamo/output_graph.py:_call_user_compiler",
        "torch/_dynamo/eval_frame.py:compile_wrapper",
        "torch/_dynamo/eval_frame.py:_fn",
    ):
        if wanted not in names:
            continue
        last = names.index(wanted)
        while names[last + 1 : last + 2] == [wanted]:
            last += 1
        if wanted.endswith(":compile_wrapper"):
            last = _graph_call(names, last)
        return last + 1
    return 0


def _graph_call(names: list[str], wrapper: int) -> int:
    """Dynamo runs the user's own frame and calls the compiled graph from it, undisturbed: behind
    a ``_fn`` of its own. What lies between the two is the user's."""
    for i, (above, name) in enumerate(pairwise(names[wrapper:]), wrapper + 1):
        if name == "torch/_dynamo/eval_frame.py:_fn" and not above.startswith("torch/"):
            return i
        if name.startswith("torch/") and above == names[wrapper]:
            return wrapper
    return wrapper


def _frames(exc: BaseException) -> list[FrameType]:
    """Outermost first, without our own: a hook may stand between the user and the compiler."""
    return [
        frame
        for frame, _ in tracebacks.walk_tb(exc.__traceback__)
        if not str(frame.f_globals.get("__name__", "")).startswith("torchcrux.")
    ]


_PACKAGES = re.compile(r"^.*/(?:site|dist)-packages/")
_ROOTS = tuple({sysconfig.get_path(name) + "/" for name in ("stdlib", "purelib", "platlib")})


def _name(frame: FrameType) -> str:
    code = frame.f_code
    module = str(frame.f_globals.get("__name__", ""))
    return frame_name(code.co_filename, code.co_name, of_torch=module.startswith("torch."))


def frame_name(file: str, function: str, *, of_torch: bool) -> str:
    """``package/path.py:function``, as in `Failure.frames`."""
    if file.startswith("<"):
        return f"{file[: file.find('>') + 1]}:{function}"
    installed = _PACKAGES.sub("", file)
    if installed == file:
        root = next((root for root in _ROOTS if file.startswith(root)), None)
        if root is not None:
            installed = file[len(root) :]
        elif "torch/" not in file or not of_torch:
            installed = PurePath(file).name
        else:  # a source checkout of torch
            installed = "torch/" + file.rpartition("/torch/")[2]
    return f"{installed}:{function}"


def below_entry(names: Sequence[str]) -> tuple[str, ...]:
    """The frames below the compiler's entry, or all if they do not pass through it."""
    return tuple(names[_entry(list(names)) :])


def stage_of(frames: tuple[str, ...]) -> Stage:
    """Which part of the compiler was at work, by the frames below its entry."""
    return _stage(frames)


def _chain(exc: BaseException, below: list[FrameType]) -> Iterator[BaseException]:
    """`exc` and what it wraps, was raised from, or was raised while handling.

    The user's program may itself be handling an exception when the compiler fails: an implicit
    context counts only if it was caught below the compiler's entry.
    """
    seen: set[int] = set()
    own = {id(frame) for frame in below}
    error: BaseException | None = exc
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        inner = getattr(error, "inner_exception", None)
        if isinstance(inner, BaseException):
            error = inner
        elif error.__cause__ is not None:
            error = error.__cause__
        elif error.__suppress_context__ or error.__context__ is None:
            error = None
        else:
            trace = error.__context__.__traceback__
            error = error.__context__ if trace and id(trace.tb_frame) in own else None


def _frames_in(traceback: str) -> list[str]:
    return [
        frame_name(file, function, of_torch="/torch/" in file)
        for file, function in FRAME.findall(traceback)
    ]


_EMBEDDED = re.compile(r"^([A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Warning)): ?(.*)", re.DOTALL)


def _embedded(message: str) -> tuple[tuple[str, str], ...]:
    """Exceptions of which only the text is left: ``LoweringException: KeyError: 'buf1'``."""
    found = _EMBEDDED.match(message.strip())
    if found is None:
        return ()
    rest = statement(found.group(2))
    return ((found.group(1), rest), *_embedded(rest))


def _defined_by_compiler(name: str) -> bool:
    """Whether a qualified type name is neither a builtin nor of the standard library."""
    package, dot, _ = name.partition(".")
    return bool(dot) and (package == "__main__" or package not in sys.stdlib_module_names)


def _qualified(error: BaseException) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__}"


def _short(name: str) -> str:
    return name.rpartition(".")[2]
