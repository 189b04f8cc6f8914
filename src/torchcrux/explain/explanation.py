"""A few questions more about what is left of a failure, asked in two rounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torchcrux.explain.layers import ladder, settings
from torchcrux.explain.near import near
from torchcrux.oracle.judge import Verdict
from torchcrux.oracle.oracle import Answer, Oracle
from torchcrux.passes.base import Draft

Asked = Sequence[tuple[str, Draft]]


@dataclass(frozen=True, slots=True)
class Layers:
    """The first layer that fails in the same way, its draft and answer, and what each layer below
    the default backend does."""

    name: str
    draft: Draft
    answer: Answer
    verdicts: tuple[tuple[str, Verdict], ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """Changes with which the script ends without an error."""

    near: tuple[str, ...] = ()
    workarounds: tuple[str, ...] = ()


def layers(oracle: Oracle, draft: Draft, answer: Answer) -> Layers:
    steps = ladder(draft)
    answers = _quietly(oracle, [one for _, one in steps])
    told = tuple(
        (name, one.verdict)
        for (name, _), one in zip(steps, answers, strict=True)
        if one.verdict is not Verdict.PASSES or _ends_well(one)
    )
    for (name, changed), one in zip(steps, answers, strict=True):
        if one.verdict is Verdict.SAME and one.failure is not None:
            return Layers(name, changed, one, told)
    return Layers(draft.context.backend.name, draft, answer, told)


def explanation(oracle: Oracle, draft: Draft, lower: Layers) -> Explanation:
    """`lower` says what the layers do: one that passes is a way out as well."""
    runnable = oracle.runs([one for _, one in near(draft)], draft)
    misses = [
        (words, ran)
        for (words, _), ran in zip(near(draft), runnable, strict=True)
        if ran is not None and ran != draft
    ]
    changes = settings(draft)
    answers = _quietly(oracle, [one for _, one in (*misses, *changes)])
    passing = [_ends_well(one) for one in answers]
    ways = [words for (words, _), ok in zip(changes, passing[len(misses) :], strict=True) if ok]
    best = [name for name, verdict in lower.verdicts if verdict is Verdict.PASSES]
    ways += [f'torch.compile(…, backend="{name}")' for name in best[-1:]]
    return Explanation(
        tuple(words for (words, _), ok in zip(misses, passing, strict=False) if ok), tuple(ways)
    )


def _ends_well(answer: Answer) -> bool:
    """A difference that was excused passes, but the script still ends with an error."""
    return answer.verdict is Verdict.PASSES and not answer.reason


def _quietly(oracle: Oracle, drafts: Sequence[Draft]) -> list[Answer]:
    """Ask, and let nobody take an answer for a better draft or a failure of the user's program."""
    if not drafts:
        return []
    told, other = oracle.on_answer, oracle.on_other
    oracle.on_answer, oracle.on_other = lambda draft, answer: None, lambda answer: None
    try:
        return oracle.ask(drafts)
    finally:
        oracle.on_answer, oracle.on_other = told, other
