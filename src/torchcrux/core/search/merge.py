"""Rounds of independent removals; every success is merged, and nothing coarser is asked again.

A question costs what it keeps, so the first round removes nearly everything: all but a hint, all
but one window of neighbours. Where that is too much, every chunk is removed by itself, and only the
chunks that were needed are cut further. The questions of a round are asked on top of all that
succeeded so far, before anyone knows whether it does so together; where it does not, the longest
run of it that does is looked for.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from torchcrux.core.search.masks import Chunk, Search, as_chunk, everything, mask_of, split

Answers = Generator[tuple[int, ...], tuple[bool, ...], list[bool]]
Step = Generator[tuple[int, ...], tuple[bool, ...], None]
Narrowed = Generator[tuple[int, ...], tuple[bool, ...], bool]

# The values are trades, not optima: `bench/search.py --constants` shows what each gives and takes.

WIDTH = 16
"""Questions in a round, about. A constant of the algorithm: the number of workers never enters.

Half as many saves a tenth of the questions and costs a fifth more rounds; with twice as many it is
a fifth more questions for a tenth fewer rounds.
"""

PIECES = 4
"""Most pieces a needed chunk is cut into at once, against fewer questions (2) or rounds (8)."""

FEWEST_IN_CHUNK = 6
"""Below this, windows are fewer instead of smaller. From 2 to 12 it makes little difference."""

AT_ONCE = 4
"""Hints or windows asked at once: where one suffices, those after it are never asked. As many as
few cores judge side by side, so that it costs no time where none does."""

LARGEST_ROUND = 16 * WIDTH
"""More questions than this are asked in several rounds: where very much is needed. Not tuned."""


def merge(
    n: int,
    *,
    width: int = WIDTH,
    hints: Sequence[int] = (),
    weights: Sequence[float] | None = None,
    known: Mapping[int, bool] | None = None,
    likely: Sequence[float] | None = None,
    local: bool = True,
) -> Search:
    """The largest removable set of n edits, 1-minimal: no further single edit can be applied.

    hints: sets to KEEP, each asked with all else removed. weights: what keeping an item costs, for
    cutting into equal shares. known: answers that the caller already has. likely: how much speaks
    for an item being needed: the windows for which most does are asked first. local: whether a
    window of neighbours may suffice; not so where they have nothing in common. Nothing applied (0)
    is taken to fail.
    """
    state = _State(n, width, weights, {**(known or {}), 0: True}, likely)
    return (yield from state.run(hints, local))


def cheap_rounds(n: int, hints: Sequence[int] = ()) -> int:
    """Rounds of `merge` that keep no more than a hint or a window, if none of these suffices."""
    count = _chunks(n, WIDTH, local=True)
    asked = -(-len(hints) // AT_ONCE)
    return asked + (-(-count // AT_ONCE) if _has_windows(n, count) else 1)


def likely_windows(
    n: int,
    likely: Sequence[float] | None = None,
    *,
    width: int = WIDTH,
    weights: Sequence[float] | None = None,
) -> list[int]:
    """Sets to KEEP, those first for which most speaks; none where there are too few items.

    A window is two neighbouring chunks, and overlaps the next by one: whatever fits into a chunk
    lies whole in some window, and a single needed item is in two, which give its chunk.
    """
    count = _chunks(n, width, local=True)
    if not _has_windows(n, count):
        return []
    parts = [mask_of(piece) for piece in split(range(n), count, weights)]
    windows = [low | high for low, high in pairwise(parts)]
    if likely is not None:
        windows.sort(key=lambda keep: -sum(likely[item] for item in as_chunk(keep)))
    return windows


def few(n: int, *, width: int = WIDTH) -> Search:
    """For passes with few edits, most of which succeed: all of them, then one by one and merged."""
    whole = everything(n)
    if n == 0 or (yield (whole,))[0]:
        return whole
    return (yield from merge(n, width=width, known={whole: False}, local=False))


def _chunks(n: int, width: int, *, local: bool) -> int:
    """How many chunks are asked at first. Very few items are asked one by one: the certificate
    comes to that anyway."""
    if n <= FEWEST_IN_CHUNK:
        return n
    return max(2, min(width, n // (FEWEST_IN_CHUNK if local else 1)))


def _has_windows(n: int, count: int) -> bool:
    """Whether neighbours among `count` chunks of `n` items are asked as windows."""
    return n > FEWEST_IN_CHUNK and count > 2


@dataclass(slots=True)
class _State:
    n: int
    width: int
    weights: Sequence[float] | None
    answers: dict[int, bool]
    likely: Sequence[float] | None = None
    best: int = 0  # answered True
    pending: list[int] = field(default_factory=list)  # each succeeded by itself, not yet together
    needed: list[Chunk] = field(default_factory=list)  # removing it made the failure vanish
    unknown: list[Chunk] = field(default_factory=list)  # to be asked each by itself
    doubtful: list[Chunk] = field(default_factory=list)  # probably not needed: asked all together

    def run(self, hints: Sequence[int], local: bool) -> Search:
        yield from self.locate(hints, local)
        while True:
            unsure = bool(self.doubtful or self.pending) and len(self.needed) > 2 * self.width
            if self.answers.get(self.base) is False:
                yield from self.retreat()
            elif self.unknown or unsure or any(len(chunk) > 1 for chunk in self.needed):
                yield from self.divide()
            elif (yield from self.certify()):
                return self.best

    def ask(self, masks: Sequence[int]) -> Answers:
        fresh = tuple(dict.fromkeys(mask for mask in masks if mask not in self.answers))
        for start in range(0, len(fresh), LARGEST_ROUND):
            part = fresh[start : start + LARGEST_ROUND]
            self.answers.update(zip(part, (yield part), strict=True))
        return [self.answers[mask] for mask in masks]

    @property
    def base(self) -> int:
        mask = self.best
        for part in self.pending:
            mask |= part
        return mask

    def locate(self, hints: Sequence[int], local: bool) -> Step:
        """Keeps only a hint, or only a window; of several that suffice, what they share.

        Hints are asked by themselves: they keep little, and one that suffices saves all windows.
        """
        whole = everything(self.n)
        if hints:
            self.unknown = [range(self.n)]
            if (yield from self.narrow([hint & whole for hint in hints], AT_ONCE)):
                return
        count = _chunks(self.n, self.width, local=local)
        self.unknown = split(range(self.n), count, self.weights)
        keeps = [0]
        if local:
            keeps += likely_windows(self.n, self.likely, width=self.width, weights=self.weights)
        yield from self.narrow(keeps, AT_ONCE)

    def narrow(self, keeps: Sequence[int], at_once: int) -> Narrowed:
        """Keep only the lightest that suffices of `keeps`, or what others share with it; `at_once`
        are asked until one does. Whether one did."""
        whole = everything(self.n)
        masks = [whole & ~keep for keep in keeps]
        yield from self.ask([*masks[:at_once], self.base])
        for start in range(at_once, len(masks), at_once):
            if any(self.answers.get(mask) for mask in masks if mask):
                break
            yield from self.ask(masks[start : start + at_once])
        suffice = {whole & ~mask for mask in masks if mask and self.answers.get(mask)}
        if not suffice:
            return False
        smallest, *others = sorted(suffice, key=lambda keep: (self.weight(keep), keep))
        self.best, self.pending = whole & ~smallest, []
        for keep in others:
            if smallest & keep and smallest & ~keep:
                self.pending.append(smallest & ~keep)
                smallest &= keep
        chunk = as_chunk(smallest)
        self.needed, self.unknown = [chunk] if chunk else [], []
        return True

    def weight(self, mask: int) -> float:
        if self.weights is None:
            return mask.bit_count()
        return sum(self.weights[item] for item in as_chunk(mask))

    def divide(self) -> Step:
        """One round: pieces of what is needed, and what is unknown, each on top of the base.

        The last piece of each needed chunk is not asked: where all the others can go it must be
        the one; where just one of the others is needed it probably can go, which the next round
        asks with a single question for all such pieces together.
        """
        base = self.base
        large = [chunk for chunk in self.needed if len(chunk) > 1]
        count = min(max(2, -(-self.width // max(1, len(large)))), PIECES)
        families = [split(chunk, count, self.weights) for chunk in large]
        asked = [piece for family in families for piece in family[:-1]] + self.unknown
        parts = [mask_of(chunk) for chunk in asked]
        if self.doubtful:
            parts.append(mask_of(item for chunk in self.doubtful for item in chunk))
        masks = [base | part for part in parts]
        if base != self.best and not self.doubtful:
            masks.append(base)
        replies = yield from self.ask(masks)
        if not any(replies) and not (yield from self.ask([base]))[0]:
            return  # the answers say nothing: the base itself does not fail

        needed = [chunk for chunk in self.needed if len(chunk) == 1]
        unknown: list[Chunk] = []
        doubtful: list[Chunk] = []
        results = iter(replies)
        for *front, last in families:
            found = [piece for piece in front if not next(results)]
            needed += found or [last]
            if len(found) == 1:
                doubtful.append(last)
            elif found:
                unknown.append(last)
        needed += [chunk for chunk in self.unknown if not next(results)]
        if self.doubtful and not next(results):
            (needed if len(self.doubtful) == 1 else unknown).extend(self.doubtful)
        self.needed, self.unknown, self.doubtful = needed, unknown, doubtful
        self.accept(base, [part for part in parts if self.answers[base | part]])

    def accept(self, base: int, succeeded: list[int]) -> None:
        """Merges what succeeded on top of the base; the largest of them is thereby verified."""
        if succeeded:
            largest = max(succeeded, key=self.weight)
            self.best = base | largest
            self.pending = [part for part in succeeded if part != largest]
        elif self.answers[base]:
            self.best, self.pending = base, []

    def retreat(self) -> Step:
        """The parts do not succeed together: the longest run of them that does stays removed."""
        prefixes = [self.best]
        for part in self.pending:
            prefixes.append(prefixes[-1] | part)
        good, bad = 0, len(prefixes) - 1
        while bad - good > 1:
            step = max(1, -(-(bad - good) // (self.width + 1)))
            probes = list(range(good + step, bad, step))
            replies = yield from self.ask([prefixes[probe] for probe in probes])
            known = dict(zip(probes, replies, strict=True))
            good = max((probe for probe in probes if known[probe]), default=good)
            bad = min((probe for probe in probes if probe > good), default=bad)
        self.best = prefixes[good]
        back = [as_chunk(part & ~self.best) for part in self.pending[good:]]
        self.pending = []
        self.needed += [chunk for chunk in back[:1] if chunk]
        self.unknown += [chunk for chunk in back[1:] if chunk]

    def certify(self) -> Generator[tuple[int, ...], tuple[bool, ...], bool]:
        """Every single further removal, taking for granted that what is doubtful can go.

        After a success the next certificate resumes behind it, so that a removal that became
        possible late is found late, and not at the price of asking all others again at once.
        """
        self.pending += [mask_of(chunk) for chunk in self.doubtful]
        self.doubtful = []
        base = self.base
        for start in range(0, max(1, len(self.needed)), LARGEST_ROUND):
            batch = self.needed[start : start + LARGEST_ROUND]
            parts = [mask_of(chunk) for chunk in batch]
            verified, *replies = yield from self.ask([base, *(base | part for part in parts)])
            if not verified and not any(replies):
                return False
            if any(replies):
                failed = [chunk for chunk, fails in zip(batch, replies, strict=True) if not fails]
                later = self.needed[start + LARGEST_ROUND :]
                self.needed = later + self.needed[:start] + failed
                self.accept(base, [part for part in parts if self.answers[base | part]])
                return False
        self.accept(base, [])
        return True
