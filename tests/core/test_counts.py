"""Exact counts of questions, against the last accepted ones in counts.json.

A change of the search shows here as a change of numbers; if it is meant, write the file anew with
`python tests/core/test_counts.py`.
"""

from __future__ import annotations

import json
from pathlib import Path

from fake_failures import clustered, mask, needs, play, spread

from torchcrux.core.search.merge import few, merge
from torchcrux.core.search.progression import progression

COUNTS = Path(__file__).with_name("counts.json")


def counts() -> dict[str, list[int]]:
    """Questions and rounds, over five seeds, of each search."""
    table = {}
    for search in (merge, progression, few):
        for n in (12,) if search is few else (50, 200, 1000, 20_000):
            for k in (1, 2, 5) if search is few else (1, 2, 5, 20):
                for layout in (spread, clustered):
                    plays = [
                        play(search(n), n, needs(mask(layout(n, k, seed)))) for seed in range(5)
                    ]
                    table[f"{search.__name__}, {k} of {n}, {layout.__name__}"] = [
                        sum(result.questions for result in plays),
                        sum(len(result.rounds) for result in plays),
                    ]
    return table


def test_counts_are_the_accepted_ones():
    assert counts() == json.loads(COUNTS.read_text())


if __name__ == "__main__":
    lines = (f"  {json.dumps(name)}: {value}" for name, value in counts().items())
    COUNTS.write_text("{\n" + ",\n".join(lines) + "\n}\n")
