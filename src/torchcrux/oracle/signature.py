"""The same failure? Strict where two bugs look alike, blind to what a reduction changes.

A smaller program has other names, sizes, files and generated code, and fewer errors of one sort.
It has not another exception, another sentence, or another place in the compiler.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from torchcrux.oracle.failure import WRAPPERS, Failure, Kind
from torchcrux.oracle.message import essence, normalised, stem, without_notes

__all__ = ["Signature", "normalised", "same", "signature", "why_different"]

_TERSE = 3
"""A message of fewer words is not telling: the innermost frames must be the same, too."""
_DEPTH = 3


@dataclass(frozen=True, slots=True)
class Signature:
    """`types` are short class names, outermost first. `message` are normalised words. `frames`
    are the innermost that tell where the compiler was. `attribute` is what differs in wrong
    numbers, or the signal of a crash. `names` are what the program calls its values."""

    kind: Kind
    types: tuple[str, ...]
    message: tuple[str, ...]
    frames: tuple[str, ...]
    attribute: str = ""
    names: frozenset[str] = frozenset()


def signature(failure: Failure, names: Collection[str] = ()) -> Signature:
    """`names` are those of the variables or nodes of the program that failed."""
    attribute = str((failure.metric or {}).get("attribute", ""))
    costly = failure.kind in (Kind.SLOW_COMPILE, Kind.MEMORY)
    if costly and failure.exceptions[0][0] == "AssertionError":
        return Signature(failure.kind, (), (), ())
    if failure.kind is Kind.ACCURACY:
        return Signature(failure.kind, (), (), (), attribute or "values")
    if failure.kind in (Kind.CRASH, Kind.HANG):
        return Signature(failure.kind, (), (), _place(failure), _fatal(failure))
    types = [name.rpartition(".")[2] for name, _ in failure.exceptions]
    return Signature(
        failure.kind,
        tuple(name for name in types if name not in WRAPPERS) or tuple(types),
        tuple(word for text in _messages(failure) for word in normalised(text)),
        tuple(frame for frame in map(_telling, failure.frames) if frame)[-_DEPTH:],
        attribute,
        frozenset(map(stem, names)),
    )


def _fatal(failure: Failure) -> str:
    """What ended the process, and whether the compiler was still at work then."""
    metric = failure.metric or {}
    what = failure.exceptions[0][0] if failure.exceptions else str(failure.signal)
    if failure.kind is Kind.HANG:
        what = ""
    elif failure.signal is None:
        what = f"status {metric.get('status')}"
    return f"{what} in {metric.get('during', 'run')}".strip()


def _place(failure: Failure) -> tuple[str, ...]:
    """The innermost frame of a compiler that crashed. One that hangs may be anywhere in a loop,
    and what it has compiled runs outside of Python."""
    if failure.kind is Kind.HANG or (failure.metric or {}).get("during") != "compile":
        return ()
    return tuple(frame for frame in map(_telling, failure.frames) if frame)[-1:]


def same(
    a: Failure,
    a_names: Collection[str],
    b: Failure,
    b_names: Collection[str],
    *,
    match: re.Pattern[str] | None = None,
) -> bool:
    return why_different(a, a_names, b, b_names, match=match) is None


def why_different(
    a: Failure,
    a_names: Collection[str],
    b: Failure,
    b_names: Collection[str],
    *,
    match: re.Pattern[str] | None = None,
    renamed: Iterable[tuple[str, str]] = (),
) -> str | None:
    """Why `b` is not the failure `a`, as a sentence; None if it is.

    `renamed` are names of values of b's program, each with what that value is called in a's.
    `match`, if given, replaces the comparison of messages and frames: it must be found in any
    message of `b` or in its traceback.
    """
    one, two = signature(a, a_names), signature(b, b_names)
    if one.kind is not two.kind:
        return f"it is of kind {two.kind.value} instead of {one.kind.value}"
    if one.attribute != two.attribute:
        what = "signal" if one.kind is Kind.CRASH else "what differs"
        return f"{what} is {two.attribute or 'nothing'} instead of {one.attribute or 'nothing'}"
    if match is not None:
        if match.search(b.text) or match.search(b.traceback):
            return None
        return f"its message does not match {match.pattern!r}: {b.exception}: {b.message}"
    if one.types != two.types:
        return f"it raises {_arrow(two.types)} instead of {_arrow(one.types)}"
    if not _alike(one, two, {(stem(new), stem(old)) for new, old in renamed}):
        return f"its message is {b.message!r} instead of {a.message!r}"
    depth = 1 if len([word for word in one.message if word.isidentifier()]) >= _TERSE else _DEPTH
    if one.frames and two.frames and one.frames[-depth:] != two.frames[-depth:]:
        return f"it is raised in {two.frames[-1]} instead of {one.frames[-1]}" + (
            "" if one.frames[-1] != two.frames[-1] else ", reached in another way"
        )
    return None


def _alike(one: Signature, two: Signature, pairs: set[tuple[str, str]]) -> bool:
    """Whether the words are equal, one by one, but for names that the other program lacks.

    `pairs` are new and old names of one value. A word that is a value's name in both must stay:
    operations often lend their name to their value, and "no lowering for softmax" is not "no
    lowering for layer_norm".
    """
    if len(one.message) != len(two.message):
        return False
    renamed: dict[str, str] = {}
    back: dict[str, str] = {}
    for a, b in zip(one.message, two.message, strict=True):
        if a == b or (b, a) in pairs:
            continue
        if a not in one.names or b not in two.names or a in two.names or b in one.names:
            return False
        if renamed.setdefault(a, b) != b or back.setdefault(b, a) != a:
            return False
    return True


_COMMANDS = frozenset({"CalledProcessError", "TimeoutExpired"})
"""Their message is the command line."""


def _messages(failure: Failure) -> list[str]:
    """Messages that add something: not those that only repeat the exception they wrap, nor those
    that the one before has quoted."""
    kept: list[str] = []
    pairs = [(name.rpartition(".")[2], without_notes(text)) for name, text in failure.exceptions]
    for i, (name, text) in enumerate(pairs):
        if name in _COMMANDS and kept:
            continue
        if i + 1 < len(pairs):
            inner = f"{pairs[i + 1][0]}: {pairs[i + 1][1]}".strip()
            if name in WRAPPERS or text.strip() == inner:
                continue
        if kept and (text.strip() == "" or text.strip() in kept[-1]):
            continue
        kept.append(text)
    return [essence(text) for text in kept]


_PLUMBING = re.compile(
    r"""torch/(?:
      _ops | _compile | __init__ | _tensor | autograd/\w+ | nn/modules/module | _library/\w+
    | utils/_stats | utils/_python_dispatch | fx/interpreter | fx/graph_module
    | fx/_lazy_graph_module | fx/experimental/proxy_tensor | fx/experimental/symbolic_shapes
    | _subclasses/fake_tensor | _subclasses/functional_tensor | _inductor/output_code
    | _inductor/compile_fx | _dynamo/\w+ | _dynamo/repro/\w+ | _dynamo/backends/common
    | _functorch/aot_autograd
    | _functorch/_aot_autograd/(?:
        utils | runtime_wrappers | subclass_codegen | graph_compile | graph_capture\w* )
    )\.py:""",
    re.VERBOSE,
)
"""What the compiler passes through on its way: it depends on grad mode, caches and nesting."""

_ANONYMOUS = frozenset({"<module>", "<lambda>", "forward", "__call__", "wrapper", "inner", "call"})


def _telling(frame: str) -> str | None:
    """`frame` as it is compared; None for one that any program passes through.

    The code of a backend may come along in a script of another name: of files that are not
    installed only the function counts.
    """
    file, _, function = frame.rpartition(":")
    if file.startswith("<") or _PLUMBING.match(frame):
        return None
    if "/" in file:
        return re.sub(r":<\w+>$", "", frame)
    return (
        None if function in _ANONYMOUS or function.startswith("torch_dynamo_resume") else function
    )


def _arrow(types: tuple[str, ...]) -> str:
    return " from ".join(types) or "nothing"
