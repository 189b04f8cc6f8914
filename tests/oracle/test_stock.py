"""Eager's values are on disk while a cut needs them, and otherwise within a limit."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from safetensors.torch import load_file

from torchcrux.oracle.facts import observe
from torchcrux.oracle.stock import Stock, size_of
from torchcrux.oracle.values import Values
from torchcrux.passes.base import Draft
from torchcrux.passes.cut import CutLevel
from torchcrux.program.context import Context
from torchcrux.program.ir import Node, Op, Program, Ref, Value
from torchcrux.program.spec import Sequence, Tensor
from torchcrux.run import Outcome, Status

SPEC = Tensor(shape=(1000,))
BYTES = 4000


def chain(length):
    names = ["x", *(f"v{i}" for i in range(length))]
    calls = [
        Node(names[i + 1], Op.FUNCTION, "torch.sin", (Ref(names[i]),), spec=SPEC)
        for i in range(length)
    ]
    return Program((Node("x", Op.INPUT, spec=SPEC), *calls), (names[-1],))


class Pool:
    """Runs what it is asked to in this process, and counts."""

    def __init__(self):
        self.runs = 0

    def run(self, tasks):
        self.runs += len(tasks)
        for leftover in Path.cwd().glob("data.safetensors"):
            leftover.unlink()
        return [Outcome(Status.DONE, value=observe(task.payload)) for task in tasks]


@pytest.fixture
def values(tmp_path, monkeypatch):
    (tmp_path / "child").mkdir()
    (tmp_path / "scratch").mkdir()
    monkeypatch.chdir(tmp_path / "child")
    draft = Draft(chain(10), Context())
    made = Values(Pool(), draft, tmp_path / "none", frozenset(), tmp_path / "scratch")
    made.stock.limit = 3 * BYTES
    return made


def cut_after(values, name):
    """The call behind `name`, which needs its value."""
    level = CutLevel(values.draft, Value.STORED)
    names = [node.name for node in values.draft.program.calls]
    return level.candidate(~(1 << (names.index(name) + 1)) & ((1 << level.size) - 1))


def on_disk(values):
    return sum(file.stat().st_size for file in values.stock.folder.rglob("*.safetensors"))


def test_values_come_and_go_and_come_again(values):
    drafts = [cut_after(values, f"v{i}") for i in range(8)]
    first = load_file(values_file(values, drafts[0], "v0"))["v0"]
    for draft in drafts[1:]:
        values.ensure([draft])
        assert on_disk(values) < 4 * BYTES  # with what a file has beside its numbers
    assert "v0" not in values.known and {"v5", "v6", "v7"} <= values.known.keys()
    runs = values.pool.runs
    assert values_file(values, drafts[7], "v7") and values.pool.runs == runs
    again = load_file(values_file(values, drafts[0], "v0"))["v0"]
    assert values.pool.runs == runs + 1 and again.equal(first)


def values_file(values, draft, name):
    values.ensure([draft])
    (source,) = values.sources(draft.program).values()
    assert source[1] == name
    return source[0]


def test_a_round_that_has_no_room_is_asked_in_parts(values):
    drafts = [cut_after(values, f"v{i}") for i in range(7)]
    parts = values.portions([*drafts, None, drafts[6]])
    assert parts == [range(3), range(3, 6), range(6, 9)]
    for part in parts[:2]:
        values.ensure(drafts[part.start : part.stop])
        assert on_disk(values) < 4 * BYTES
    assert values.pool.runs == 2


def test_what_is_needed_stays_however_large(values):
    values.stock.limit = BYTES // 2
    drafts = [cut_after(values, f"v{i}") for i in range(2)]
    values.ensure(drafts)
    assert {"v0", "v1"} <= values.known.keys()
    assert values.portions(drafts) == [range(1), range(1, 2)]


def test_values_of_another_draft_are_others(values):
    draft = cut_after(values, "v3")
    values.ensure([draft])
    values.begin_anew(Draft(chain(5), Context()))
    assert "v3" not in values.known
    assert values.sources(draft.program)


def test_the_limit_leaves_room_on_the_disk(tmp_path):
    room = os.statvfs(tmp_path)
    assert Stock(tmp_path, limit=2**80).limit <= room.f_blocks * room.f_frsize // 4


def test_sizes():
    parts = Sequence((SPEC, Tensor(shape=(3,), dtype="bool"), Tensor((2,), dtype="complex128")))
    assert size_of(Node("y", Op.FUNCTION, spec=parts)) == BYTES + 3 + 32
