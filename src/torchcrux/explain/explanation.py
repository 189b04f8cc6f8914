"""A few questions more about what is left of a failure, asked in two rounds."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from torchcrux.explain.layers import ladder, settings
from torchcrux.explain.near import near, nearest
from torchcrux.oracle.judge import Verdict
from torchcrux.oracle.oracle import Answer, Oracle
from torchcrux.passes.base import Draft
from torchcrux.program.literals import Place

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
    """Changes with which the script ends without an error. `larger` are the verdicts on the larger
    drafts that were asked as well."""

    near: tuple[str, ...] = ()
    workarounds: tuple[str, ...] = ()
    larger: Mapping[Place, Verdict] = field(default_factory=dict)


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


def explanation(
    oracle: Oracle,
    draft: Draft,
    lower: Layers,
    larger: Mapping[Place, Draft] = MappingProxyType({}),
    sized: Collection[str] = (),
) -> Explanation:
    """`lower` says what the layers do: one that passes is a way out as well. `larger` are drafts
    in which the size at a place is larger, `sized` the inputs whose sizes these are."""
    tried = near(draft, sized)
    runnable = oracle.runs([one.draft for one in tried], draft)
    misses = [
        (one, ran)
        for one, ran in zip(tried, runnable, strict=True)
        if ran is not None and ran != draft
    ]
    changes = settings(draft)
    asked = [*(one for _, one in misses), *(one for _, one in changes), *larger.values()]
    answers = _quietly(oracle, asked)
    passing = [_ends_well(one) for one in answers]
    ways = [words for (words, _), ok in zip(changes, passing[len(misses) :], strict=False) if ok]
    best = [name for name, verdict in lower.verdicts if verdict is Verdict.PASSES]
    ways += [f'torch.compile(…, backend="{name}")' for name in best[-1:]]
    return Explanation(
        tuple(nearest([one for (one, _), ok in zip(misses, passing, strict=False) if ok])),
        tuple(ways),
        {
            place: answer.verdict
            for place, answer in zip(larger, answers[len(asked) - len(larger) :], strict=True)
        },
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
