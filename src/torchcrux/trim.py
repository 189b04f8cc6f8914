"""The last step of a reduction: code of the user's that comes along, without what neither the
failure nor any change that is told of executes.

It is not one of the passes. A condition that the failure never meets may be what makes a change
pass: so nothing is taken away before all that is known, and only where all of it stays true.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from torchcrux.certificate import Certificate
from torchcrux.core.journal import JournalError
from torchcrux.emit.executed import has_blocks, probed, without_unexecuted
from torchcrux.oracle.answer import Answer
from torchcrux.oracle.failure import Kind
from torchcrux.oracle.judge import Verdict
from torchcrux.oracle.oracle import Oracle
from torchcrux.passes import Draft
from torchcrux.program.context import Context
from torchcrux.reduction import Reducer
from torchcrux.run import PoolError

TIMED = (Kind.HANG, Kind.SLOW_COMPILE, Kind.MEMORY)
"""Failures that take long to ask about, or are not the same with a probe."""


def trimmed(oracle: Oracle, reducer: Reducer, draft: Draft, answer: Answer) -> tuple[Draft, Answer]:
    """The draft with less code of the user's, if it still fails and all further edits of it are
    answered as before; its answer. Then the proof of `reducer` is one of that draft."""
    proof = reducer.proof
    once = oracle.times == oracle.votes == 1
    if proof is None or not once or oracle.expected.kind in TIMED:
        return draft, answer
    try:
        found = _trimmed(oracle, reducer, proof, draft)
    except (PoolError, JournalError):
        raise
    except Exception:  # a source that our own code does not understand
        oracle.fault()
        found = None
    if found is None:
        reducer.proof = proof
    return found or (draft, answer)


def _trimmed(
    oracle: Oracle, reducer: Reducer, proof: Certificate, draft: Draft
) -> tuple[Draft, Answer] | None:
    sources = _sources(draft.context)
    if not sources:
        return None
    near = [one.changed for one in proof.entries if one.changed is not None]
    executed = _executed(oracle, [draft, *near], sources)
    if executed is None:
        return None
    for bold in (True, False):
        shorter = _without_unexecuted(oracle, draft, sources, executed, bold=bold)
        if shorter == draft:
            break
        (answer,) = reducer.ask([shorter])
        if answer.verdict is Verdict.SAME:
            reducer.certify(shorter)
            if reducer.proof is not None and reducer.proof.told(()) == proof.told(()):
                return shorter, answer
    return None


def _sources(context: Context) -> dict[str, str]:
    """Texts of the user's in which something may not be executed, by a name for each."""
    texts = {f"config{i}": text for i, text in enumerate(context.config)}
    texts["backend"] = context.backend.source
    return {name: text for name, text in texts.items() if "\n" in text and has_blocks(text)}


def _with(context: Context, texts: dict[str, str]) -> Context:
    config = tuple(texts.get(f"config{i}", text) for i, text in enumerate(context.config))
    source = texts.get("backend", context.backend.source)
    return replace(context, config=config, backend=replace(context.backend, source=source))


def _executed(
    oracle: Oracle, drafts: Sequence[Draft], sources: dict[str, str]
) -> dict[str, set[int]] | None:
    """The numbers of the blocks that any of the drafts executes; None if the first of them does
    not fail as before when it is watched."""
    trail = oracle.values.scratch / "blocks"
    trail.unlink(missing_ok=True)
    texts = {name: probed(text, str(trail), name) for name, text in sources.items()}
    watched = [replace(draft, context=_with(draft.context, texts)) for draft in drafts]
    first, *_ = oracle.once(watched)
    if first.verdict is not Verdict.SAME:
        return None
    executed: dict[str, set[int]] = {name: set() for name in sources}
    for line in trail.read_text(encoding="utf-8").splitlines() if trail.exists() else ():
        name, _, number = line.partition(":")
        executed[name].add(int(number))
    return executed


def _without_unexecuted(
    oracle: Oracle,
    draft: Draft,
    sources: dict[str, str],
    executed: dict[str, set[int]],
    *,
    bold: bool,
) -> Draft:
    shorter = dict(sources)
    for name, text in sources.items():
        mine = {*text.splitlines()}
        rest = [line for line in oracle.text(draft).splitlines() if line not in mine]
        used = set(re.findall(r"(?<![\w.])\w+", "\n".join(rest)))
        shorter[name] = without_unexecuted(text, executed[name], used, bold=bold)
    return replace(draft, context=_with(draft.context, shorter))
