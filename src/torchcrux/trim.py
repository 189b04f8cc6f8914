"""The last step of a reduction: code of the user's that comes along, without what neither the
failure nor any change that is told of executes.

It is not one of the passes. A condition that the failure never meets may be what makes a change
pass: so nothing is taken away before all that is known, and only where all of it stays true.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
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
    near = [one.changed for one in proof.entries if one.changed is not None]
    for sources in _sources(draft.context):
        executed = _executed(oracle, [draft, *near], sources)
        if executed is not None:
            return _shortened(oracle, reducer, proof, draft, sources, executed)
    return None


def _shortened(
    oracle: Oracle,
    reducer: Reducer,
    proof: Certificate,
    draft: Draft,
    sources: Sequence[str],
    executed: Sequence[set[int]],
) -> tuple[Draft, Answer] | None:
    tried = [draft]
    for bold, tables in ((True, True), (True, False), (False, False)):
        shorter = _without_unexecuted(oracle, draft, sources, executed, bold=bold, tables=tables)
        if shorter in tried:
            continue
        tried.append(shorter)
        (answer,) = reducer.ask([shorter])
        if answer.verdict is Verdict.SAME:
            reducer.certify(shorter)
            if reducer.proof is not None and reducer.proof.told(()) == proof.told(()):
                return shorter, answer
    return None


def _sources(context: Context) -> Iterator[list[str]]:
    """Texts of the user's in which something may not be executed; first with those of operators,
    some of which no Python executes, and which cannot be watched."""
    texts = [*context.config, context.backend.source]
    operators = [source for _, source in context.operators]
    for some in ([*texts, *operators], texts) if operators else (texts,):
        found = [text for text in dict.fromkeys(some) if "\n" in text and has_blocks(text)]
        if found:
            yield found


def with_texts(draft: Draft, texts: Mapping[str, str]) -> Draft:
    """The draft with other texts for those of the user's that it has; an edit may have dropped or
    changed some."""
    context = draft.context
    config = tuple(texts.get(text, text) for text in context.config)
    source = texts.get(context.backend.source, context.backend.source)
    backend = replace(context.backend, source=source)
    operators = tuple((name, texts.get(text, text)) for name, text in context.operators)
    context = replace(context, config=config, backend=backend, operators=operators)
    return replace(draft, context=context)


def _executed(
    oracle: Oracle, drafts: Sequence[Draft], sources: Sequence[str]
) -> list[set[int]] | None:
    """For each source the numbers of the blocks that any of the drafts executes; None if the first
    of them does not fail as before when it is watched."""
    trail = oracle.values.scratch / "blocks"
    trail.unlink(missing_ok=True)
    texts = {text: probed(text, str(trail), str(i)) for i, text in enumerate(sources)}
    first, *_ = oracle.once([with_texts(draft, texts) for draft in drafts])
    if first.verdict is not Verdict.SAME:
        return None
    executed: list[set[int]] = [set() for _ in sources]
    for line in trail.read_text(encoding="utf-8").splitlines() if trail.exists() else ():
        source, _, number = line.partition(":")
        executed[int(source)].add(int(number))
    return executed


def _without_unexecuted(
    oracle: Oracle,
    draft: Draft,
    sources: Sequence[str],
    executed: Sequence[set[int]],
    *,
    bold: bool,
    tables: bool,
) -> Draft:
    whole = oracle.text(draft).splitlines()
    shorter = {}
    for text, numbers in zip(sources, executed, strict=True):
        mine = {*text.splitlines()}
        rest = "\n".join(line for line in whole if line not in mine)
        used = set(re.findall(r"(?<![\w.])\w+", rest))
        shorter[text] = without_unexecuted(text, numbers, used, bold=bold, tables=tables)
    return with_texts(draft, shorter)
