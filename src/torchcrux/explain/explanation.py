"""A few questions more about what is left of a failure, asked in two rounds."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from torchcrux.explain.layers import ladder, settings
from torchcrux.explain.near import Miss, near, nearest
from torchcrux.explain.together import grouped
from torchcrux.oracle.answer import Answer
from torchcrux.oracle.judge import Verdict
from torchcrux.oracle.oracle import Oracle
from torchcrux.passes.base import Draft
from torchcrux.program.literals import Place


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
    answers = _asked(oracle, [one for _, one in steps])
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
    in which the size at a place is larger, `sized` the inputs whose sizes these are. What seldom
    mends a program is asked together, and one by one only where the program then fails no more."""
    misses = near(draft, sized)
    changes = [Miss(words, changed, rare=True) for words, changed in settings(draft)]
    tried = [*misses, *changes]
    alone = [one for one in tried if not one.rare]
    rare = [one for one in tried if one.rare]
    groups = grouped(draft, [one.draft for one in rare])
    first = _run(oracle, draft, [*(one.draft for one in alone), *(one for one, _ in groups)])
    answers = _asked(oracle, [*first, *larger.values()])
    passing = [one for one, answer in zip(alone, answers, strict=False) if _ends_well(answer)]
    again = [
        rare[number]
        for (_, members), answer in zip(groups, answers[len(alone) :], strict=False)
        if answer.verdict is not Verdict.SAME
        for number in members
    ]
    second = _asked(oracle, _run(oracle, draft, [one.draft for one in again]))
    passing += [one for one, answer in zip(again, second, strict=True) if _ends_well(answer)]
    best = [name for name, verdict in lower.verdicts if verdict is Verdict.PASSES]
    return Explanation(
        tuple(nearest([one for one in misses if one in passing])),
        (
            *(one.words for one in changes if one in passing),
            *(f'torch.compile(…, backend="{name}")' for name in best[-1:]),
        ),
        {
            place: answer.verdict
            for place, answer in zip(larger, answers[len(first) :], strict=True)
        },
    )


def _run(oracle: Oracle, base: Draft, drafts: Sequence[Draft]) -> list[Draft | None]:
    """What eager makes of the drafts; None where it refuses, or nothing is changed."""
    ran = oracle.runs(drafts, base) if drafts else []
    return [None if one == base else one for one in ran]


def _ends_well(answer: Answer) -> bool:
    """A difference that was excused passes, but the script still ends with an error."""
    return answer.verdict is Verdict.PASSES and not answer.reason


def _asked(oracle: Oracle, drafts: Sequence[Draft | None]) -> list[Answer]:
    """Ask, and let nobody take an answer for a better draft or a failure of the user's program."""
    programs = [one for one in drafts if one is not None]
    told, other = oracle.on_answer, oracle.on_other
    oracle.on_answer, oracle.on_other = lambda draft, answer: None, lambda answer: None
    try:
        answers = iter(oracle.ask(programs) if programs else [])
    finally:
        oracle.on_answer, oracle.on_other = told, other
    return [Answer(Verdict.INVALID) if one is None else next(answers) for one in drafts]
