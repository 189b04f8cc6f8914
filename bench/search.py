"""What the searches ask, without a compiler: questions against the information bound.

    python bench/search.py [--seeds 30] [--json bench/search.json] [--constants]

`questions` and `rounds`: mean and worst over the seeds. `x bound`: mean questions by
log2 C(n, k) + k. `graphs`: what all questions together keep, in whole graphs. `ms`: the engine
itself, a question. `either` fails while one of two separate need-sets of k is kept: not monotone.

With --constants it varies each constant of the shipped search instead, the others as shipped, and
prints means over the spread and clustered cases above.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from statistics import mean

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests" / "core")]

from fake_failures import bound, clustered, mask, needs, play, spread  # noqa: E402

from torchcrux.core.search import merge as shipped  # noqa: E402
from torchcrux.core.search.merge import merge  # noqa: E402
from torchcrux.core.search.progression import progression  # noqa: E402

SIZES = (50, 200, 1000, 5000, 20_000)
NEEDED = (1, 2, 3, 5, 10, 20)
LAYOUTS = {
    "spread": lambda n, k, seed: [spread(n, k, seed)],
    "clustered": lambda n, k, seed: [clustered(n, k, seed)],
    "either": lambda n, k, seed: [spread(n, k, seed), spread(n, k, seed + 10_000)],
}


def measure(search, n, k, layout, seeds):
    plays = []
    for seed in range(seeds):
        ways = [mask(items) for items in LAYOUTS[layout](n, k, seed)]
        result = play(search(n), n, needs(*ways))
        if not (mask(result.kept) in ways and result.one_minimal and result.no_question_twice):
            raise SystemExit(f"{search.__name__}, {k} of {n}, {layout}, seed {seed}: wrong result")
        plays.append(result)
    questions = [result.questions for result in plays]
    rounds = [len(result.rounds) for result in plays]
    return {
        "search": search.__name__,
        "layout": layout,
        "n": n,
        "k": k,
        "bound": round(bound(n, k), 1),
        "questions": round(mean(questions), 1),
        "questions_worst": max(questions),
        "times_bound": round(mean(questions) / bound(n, k), 2),
        "rounds": round(mean(rounds), 1),
        "rounds_worst": max(rounds),
        "graphs": round(mean(result.graphs for result in plays), 1),
        "engine_ms": round(1000 * sum(r.seconds for r in plays) / sum(questions), 3),
    }


def vary(seeds):
    """The trade behind each constant: questions, rounds and compiled graphs pull apart."""
    print(f"{'constant':18}{'value':>6}{'questions':>11}{'rounds':>8}{'graphs':>8}")
    for name, values in {
        "WIDTH": (4, 8, 12, 16, 24, 32),
        "PIECES": (2, 3, 4, 6, 8),
        "FEWEST_IN_CHUNK": (2, 4, 6, 8, 12),
    }.items():
        as_shipped = getattr(shipped, name)
        for value in values:
            if name == "WIDTH":
                search = partial(merge, width=value)
            else:
                setattr(shipped, name, value)
                search = merge
            plays = [
                play(search(n), n, needs(mask(items)))
                for layout in (spread, clustered)
                for n in SIZES
                for k in NEEDED
                for items in (layout(n, k, seed) for seed in range(seeds))
            ]
            print(
                f"{name:18}{value:6}{mean(result.questions for result in plays):11.1f}"
                f"{mean(len(result.rounds) for result in plays):8.2f}"
                f"{mean(result.graphs for result in plays):8.2f}"
                f"{'   shipped' if value == as_shipped else ''}"
            )
        setattr(shipped, name, as_shipped)


def main() -> None:
    parser = argparse.ArgumentParser(description="Simulated cost of the searches.")
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--json", type=Path, default=ROOT / "bench" / "search.json")
    parser.add_argument("--constants", action="store_true")
    options = parser.parse_args()
    if options.constants:
        vary(options.seeds)
        return
    rows = []
    print(
        f"{'search':12}{'layout':10}{'n':>7}{'k':>4}{'bound':>8}{'questions':>11}{'worst':>7}"
        f"{'x bound':>9}{'rounds':>8}{'worst':>7}{'graphs':>8}{'ms':>8}"
    )
    for search in (merge, progression):
        for layout in LAYOUTS:
            for n in SIZES:
                for k in NEEDED:
                    row = measure(search, n, k, layout, options.seeds)
                    rows.append(row)
                    print(
                        f"{row['search']:12}{layout:10}{n:7}{k:4}{row['bound']:8.1f}"
                        f"{row['questions']:11.1f}{row['questions_worst']:7}"
                        f"{row['times_bound']:9.2f}{row['rounds']:8.1f}{row['rounds_worst']:7}"
                        f"{row['graphs']:8.1f}{row['engine_ms']:8.3f}"
                    )
    options.json.write_text(json.dumps(rows, indent=1) + "\n")
    print(f"written: {options.json}")


if __name__ == "__main__":
    main()
