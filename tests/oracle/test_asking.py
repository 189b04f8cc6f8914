"""How the oracle asks: what is recorded when, repeated beside what, and not believed."""

import signal
from dataclasses import replace

import pytest

from torchcrux.core.journal import Journal
from torchcrux.oracle.answer import Flaky
from torchcrux.oracle.failure import Failure, Kind, Stage
from torchcrux.oracle.frequency import Frequency
from torchcrux.oracle.judge import Verdict
from torchcrux.oracle.oracle import Oracle
from torchcrux.passes.base import Draft
from torchcrux.program.context import Context
from torchcrux.program.ir import Node, Op, Program, Ref
from torchcrux.program.spec import Tensor
from torchcrux.run import Outcome, Status

FAILURE = Failure(Kind.COMPILE_ERROR, Stage.BACKEND, (("RuntimeError", "no"),), ())
SAME = Outcome(
    Status.DONE, {"verdict": "same", "failure": FAILURE.to_json(), "reason": "", "seconds": 0.1}
)
PASSES = Outcome(Status.DONE, {**SAME.value, "verdict": "passes", "failure": None})
KILLED = Outcome(Status.SIGNALLED, code=signal.SIGKILL)


class Pool:
    """Gives what it was told to, in rounds; an exception as the last outcome is raised."""

    jobs = 2

    def __init__(self, *rounds):
        self.rounds = list(rounds)
        self.asked = []
        self.threads = []

    def run(self, tasks, told=lambda index, outcome: None):
        outcomes = self.rounds.pop(0)
        self.asked.append([task.payload["text"] for task in tasks])
        self.threads.append([task.payload["threads"] for task in tasks])
        for index, outcome in enumerate(outcomes):
            if isinstance(outcome, BaseException):
                raise outcome
            told(index, outcome)
        assert len(outcomes) == len(tasks)
        return list(outcomes)


class NoValues:
    drafts = 1

    def portions(self, drafts):
        return [range(len(drafts))]

    def ensure(self, drafts):
        pass

    def sources(self, program):
        return {}


def draft(function):
    spec = Tensor((2,))
    nodes = (
        Node("x", Op.INPUT, spec=spec),
        Node("y", Op.FUNCTION, f"torch.{function}", (Ref("x"),), spec=spec),
    )
    return Draft(Program(nodes, ("y",)), Context())


@pytest.fixture
def oracle(tmp_path):
    def make(*rounds, **options):
        journal = Journal(tmp_path / "journal.jsonl")
        made = Oracle(Pool(*rounds), journal, NoValues(), FAILURE, frozenset("xy"), 9.0, **options)
        opened.append(journal)
        return made

    opened = []
    yield make
    for journal in opened:
        journal.close()


def test_the_first_failure_is_repeated_on_cores_that_are_free(oracle):
    asking = oracle([SAME, PASSES], [PASSES, SAME], [PASSES, PASSES], [], [SAME, SAME])
    first, _ = asking.ask([draft("sin"), draft("cos")])
    asking.ask([draft("exp")])  # one of two jobs is free
    asking.ask([draft("tan"), draft("neg")])  # none is
    asking.ask([draft("exp")])  # known: nothing is asked
    asking.settle()
    asking.settle()
    _, second, third, fourth, last = asking.pool.asked
    assert [second[1:], third[2:], fourth, last] == [[first.text], [], [], [first.text] * 2]
    assert asking.queries == 8


def test_one_job_repeats_it_as_well(oracle):
    asking = oracle([SAME], [PASSES, SAME])
    asking.pool.jobs = 1
    first = asking.ask([draft("sin")])[0]
    asking.ask([draft("exp")])
    assert asking.pool.asked[1][1:] == [first.text]


def test_one_that_does_not_come_again_is_flaky_and_what_was_asked_beside_is_kept(oracle):
    asking = oracle([SAME], [PASSES, SAME], [PASSES, PASSES])
    asking.ask([draft("sin")])
    asking.ask([draft("exp")])
    with pytest.raises(Flaky) as raised:
        asking.ask([draft("tan")])
    assert raised.value.seen == Frequency(2, 3)
    assert len(asking.journal) == 3


def test_what_was_not_repeated_beside_anything_is_at_the_end(oracle):
    asking = oracle([SAME], [SAME, PASSES, SAME])
    asking.ask([draft("sin")])
    with pytest.raises(Flaky) as raised:
        asking.settle()
    assert raised.value.seen == Frequency(3, 4)


def test_a_question_has_the_cores_that_no_other_needs(oracle):
    asking = oracle([PASSES], [PASSES, PASSES], repeats=0)
    asking.ask([draft("sin")])
    asking.ask([draft("cos"), draft("tan")])
    assert asking.pool.threads == [[2], [1, 1]]


def test_an_answer_is_on_the_disk_before_the_round_is_over(oracle):
    asking = oracle([PASSES, KeyboardInterrupt()])
    with pytest.raises(KeyboardInterrupt):
        asking.ask([draft("sin"), draft("cos")])
    assert len(asking.journal) == 1


def test_a_candidate_that_somebody_killed_is_asked_again(oracle):
    asking = oracle([KILLED, PASSES], [SAME], repeats=0)
    answers = asking.ask([draft("sin"), draft("cos")])
    assert [answer.verdict for answer in answers] == [Verdict.SAME, Verdict.PASSES]
    assert asking.pool.asked[1] == asking.pool.asked[0][:1]


def test_one_that_is_killed_each_time_is_another_failure(oracle):
    (answer,) = oracle([KILLED], [KILLED]).ask([draft("sin")])
    assert answer.verdict is Verdict.DIFFERENT


def test_a_suspect_is_asked_for_once_and_only_where_numbers_are_wrong(oracle):
    asking = oracle(
        [Outcome(Status.DONE, {"index": 0})], [Outcome(Status.RAISED, error="out of memory")]
    )
    assert asking.suspects(draft("sin")) == ()
    asking.expected = replace(FAILURE, kind=Kind.ACCURACY)
    assert [asking.suspects(draft("sin")) for _ in range(2)] == [("y",), ("y",)]
    assert asking.suspects(draft("cos")) == ()
    assert asking.queries == 2


def wrong(attribute, kind=Kind.ACCURACY):
    return Failure(
        kind, Stage.RUN, (("AssertionError", attribute),), (), metric={"attribute": attribute}
    )


def test_another_sign_of_the_same_wrong_numbers_is_adopted_once(oracle):
    it = oracle()
    assert not it.adopt(wrong("dtype"))  # a compile error is expected
    it.expected = wrong("values")
    assert not it.adopt(wrong("dtype", Kind.RUNTIME_ERROR))
    before = it._key("text", {})
    assert it.adopt(wrong("dtype"))
    assert it.expected.metric["attribute"] == "dtype"
    assert it._key("text", {}) != before
    assert not it.adopt(wrong("values"))


def test_a_tolerance_of_the_user_stays_when_another_sign_is_adopted(oracle):
    it = oracle()
    it.expected = replace(wrong("values"), metric={"attribute": "values", "tolerance": [0.1, 0.2]})
    assert it.adopt(wrong("dtype"))
    assert it.expected.metric == {"attribute": "dtype", "tolerance": [0.1, 0.2]}


def test_what_may_be_asked_next_is_judged_in_jobs_that_are_free_and_known_then(oracle):
    asking = oracle([PASSES, SAME], [], [PASSES, PASSES, PASSES, PASSES], repeats=0)
    coming = iter([draft("cos"), draft("tan"), draft("neg")])
    told, other = [], []
    asking.ahead = lambda count: [next(coming) for _ in range(count)]
    asking.on_answer = lambda asked, answer: told.append(answer.verdict)
    asking.on_other = other.append
    assert [one.verdict for one in asking.ask([draft("sin")])] == [Verdict.PASSES]
    assert told == [Verdict.PASSES]  # nobody has asked about the other yet
    (ahead,) = asking.ask([draft("cos")])
    assert ahead.verdict is Verdict.SAME and told[1:] == [Verdict.SAME]
    asking.ask([draft("exp"), draft("abs"), draft("ceil")])
    assert [len(one) for one in asking.pool.asked] == [2, 0, 4]
    assert "torch.cos(" in asking.pool.asked[0][1] and "torch.tan(" in asking.pool.asked[2][3]


@pytest.mark.parametrize("kind", [Kind.HANG, Kind.CRASH, Kind.SLOW_COMPILE, Kind.MEMORY])
def test_nothing_is_judged_beside_what_takes_time_or_memory(kind, oracle):
    asking = oracle([KILLED], repeats=0)
    asking.expected = replace(asking.expected, kind=kind)
    asking.ahead = lambda count: pytest.fail("asked ahead")
    assert asking._free_for(1) == []


def test_a_failure_is_repeated_before_anything_is_asked_ahead(oracle):
    asking = oracle([SAME, PASSES], [PASSES, SAME])
    asking.ask([draft("sin"), draft("cos")])
    asking.ahead = lambda count: pytest.fail("asked ahead")
    asking.ask([draft("exp")])
    assert len(asking.pool.asked[1]) == 2
