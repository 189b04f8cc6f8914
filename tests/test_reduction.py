"""The passes and the search together, on programs of hundreds of calls, with a fake oracle."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from torchcrux.first_cut import NotReproduced
from torchcrux.oracle.answer import Answer
from torchcrux.oracle.failure import Failure, Kind, Stage
from torchcrux.oracle.judge import Verdict
from torchcrux.passes import ALL, Draft
from torchcrux.program.context import Context
from torchcrux.program.ir import Node, Op, Program, Ref, Region, Value
from torchcrux.program.spec import Tensor
from torchcrux.reduction import Reducer, Stopped

T = Tensor((2, 3))


def failure(kind=Kind.COMPILE_ERROR, message="no schedule"):
    return Failure(kind, Stage.BACKEND, (("CompileError", message),), ())


def chain(n, **special):
    """x -> c0 -> c1 -> ...; `special` gives some calls another target, by name."""
    nodes = [Node("x", Op.INPUT, spec=T)]
    for i in range(n):
        name = f"c{i}"
        target = special.get(name, "torch.sin")
        nodes.append(Node(name, Op.FUNCTION, target, (Ref(nodes[-1].name),), spec=T))
    return Draft(Program(tuple(nodes), (nodes[-1].name,)), Context())


def residual(n, **special):
    """Each call adds its input to that of the call three before."""
    draft = chain(n, **special)
    nodes = list(draft.program.nodes)
    for i in range(4, len(nodes)):
        uses = (Ref(nodes[i - 1].name), Ref(nodes[i - 3].name))
        nodes[i] = replace(nodes[i], args=uses)
    return replace(draft, program=replace(draft.program, nodes=tuple(nodes)))


@dataclass
class FakeOracle:
    """Fails in the same way while `fails(draft)`; counts what it is asked, each text once."""

    fails: object
    expected: Failure = field(default_factory=failure)
    on_answer: object = None
    asked: dict = field(default_factory=dict)
    rounds: int = 0

    suspected: tuple[str, ...] = ()
    looked_at: list = field(default_factory=list)

    def settle(self):
        """What fails here always fails."""

    @property
    def has_suspects(self):
        return bool(self.suspected)

    def suspects(self, draft, *, at_first=False):
        whole = draft.program.operations
        self.looked_at.append(whole // 4 if at_first else whole)
        seen = {node.name for node in draft.program.calls[: self.looked_at[-1]]}
        return tuple(name for name in self.suspected if name in seen)

    def runs(self, drafts, base):
        """Eager wants an operand for each call, and takes everything else."""
        return [
            draft if all(node.references() for node in draft.program.calls) else None
            for draft in drafts
        ]

    def ask(self, drafts):
        self.rounds += 1
        answers = []
        for draft in drafts:
            if draft is None:
                answers.append(Answer(Verdict.INVALID))
                continue
            key = (draft.program, draft.context)
            if key not in self.asked:
                same = self.fails(draft)
                self.asked[key] = Verdict.SAME if same else Verdict.PASSES
            answer = Answer(self.asked[key], text=str(len(draft.program.nodes)))
            answers.append(answer)
            self.on_answer(draft, answer)
        return answers


def targets(draft):
    return [node.target for node in draft.program.calls]


def keeps(*wanted):
    return lambda draft: set(wanted) <= set(targets(draft))


def reduced(draft, fails, **options):
    oracle = FakeOracle(fails)
    best = []
    reducer = Reducer(oracle, draft, on_best=lambda d, a: best.append(d), **options)
    final = reducer.run()
    assert best and best[-1].program == final.program
    return final, oracle, reducer


@pytest.mark.parametrize("graph", [chain, residual])
@pytest.mark.parametrize(("first", "second"), [(3, 190), (60, 140), (99, 100), (0, 199)])
def test_two_operations_far_apart_in_200_are_all_that_is_left(graph, first, second):
    draft = graph(200, **{f"c{first}": "torch.relu", f"c{second}": "torch.tanh"})
    cut = [one for one in ALL if one.name in ("cut", "outputs")]
    final, oracle, reducer = reduced(draft, keeps("torch.relu", "torch.tanh"), passes=cut)
    assert targets(final) == ["torch.relu", "torch.tanh"]
    assert len(oracle.asked) <= 60
    assert reducer.minimal


@pytest.mark.parametrize("place", [0, 333, 999])
def test_one_operation_in_1000(place):
    final, oracle, _ = reduced(chain(1000, **{f"c{place}": "torch.relu"}), keeps("torch.relu"))
    assert targets(final) == ["torch.relu"]
    assert len(oracle.asked) <= 50


def test_what_the_message_names_is_asked_first():
    oracle = FakeOracle(keeps("torch.relu"), expected=failure(message="relu has no lowering"))
    asked = []
    draft = chain(300, c123="torch.relu")
    reducer = Reducer(oracle, draft, on_best=lambda d, a: asked.append(len(oracle.asked)))
    assert targets(reducer.run()) == ["torch.relu"]
    assert asked[0] <= 2
    assert len(oracle.asked) <= 25


def test_where_numbers_go_wrong_first_is_asked_first():
    oracle = FakeOracle(keeps("torch.relu"), expected=failure(Kind.ACCURACY), suspected=("c123",))
    asked = []
    draft = chain(300, c123="torch.relu")
    reducer = Reducer(oracle, draft, on_best=lambda d, a: asked.append(len(oracle.asked)))
    assert targets(reducer.run()) == ["torch.relu"]
    assert asked[0] == 1
    assert oracle.looked_at == [75, 9, 38]  # 300 are not compiled again for that
    assert len(oracle.asked) <= 20


def test_how_a_large_program_begins_is_looked_at_first():
    oracle = FakeOracle(keeps("torch.relu"), expected=failure(Kind.ACCURACY), suspected=("c23",))
    draft = chain(300, c23="torch.relu")
    assert targets(Reducer(oracle, draft, on_best=lambda d, a: None).run()) == ["torch.relu"]
    assert oracle.looked_at == [75]


def test_numbers_that_no_window_makes_wrong_are_looked_at_in_all():
    suspected = ("c100", "c290")
    oracle = FakeOracle(
        keeps("torch.relu", "torch.tanh"), expected=failure(Kind.ACCURACY), suspected=suspected
    )
    draft = chain(300, c100="torch.tanh", c290="torch.relu")
    reduced = Reducer(oracle, draft, on_best=lambda d, a: None).run()
    assert targets(reduced) == ["torch.tanh", "torch.relu"]
    assert oracle.looked_at == [75, 300]


def test_what_takes_two_calls_to_go_wrong_is_asked_with_what_it_takes():
    fails = keeps("torch.tanh", "torch.relu")
    oracle = FakeOracle(fails, expected=failure(Kind.ACCURACY), suspected=("c123",))
    draft = chain(300, c122="torch.tanh", c123="torch.relu")
    assert targets(Reducer(oracle, draft, on_best=lambda d, a: None).run()) == [
        "torch.tanh",
        "torch.relu",
    ]
    assert len(oracle.asked) <= 25


def large():
    """One call with a setting, on two large inputs of random values."""
    inputs = [Node(name, Op.INPUT, spec=Tensor((64, 32, 8)), value=Value.RANDOM) for name in "ab"]
    node = Node("out", Op.FUNCTION, "torch.add", (Ref("a"), Ref("b")), (("alpha", 3),), T)
    return Draft(Program((*inputs, node), ("out",)), Context())


def test_what_is_mostly_granted_is_one_question():
    usual = [one for one in ALL if one.name in ("sizes", "arguments", "plain-values")]
    final, oracle, _ = reduced(large(), keeps("torch.add"), passes=usual)
    assert final.program.elements == 1
    assert final.program.calls[0].kwargs == ()
    assert {node.value for node in final.program.inputs} == {Value.ONES}
    assert oracle.rounds <= 4  # the draft itself, the guess, and the certificate


def test_of_a_guess_that_is_refused_what_is_granted_is_found_all_the_same():
    def fails(draft):
        return dict(draft.program.calls[0].kwargs) == {"alpha": 3}

    usual = [one for one in ALL if one.name in ("sizes", "arguments", "plain-values")]
    final, _, reducer = reduced(large(), fails, passes=usual)
    assert final.program.elements == 1
    assert {node.value for node in final.program.inputs} == {Value.ONES}
    assert reducer.minimal


@dataclass(frozen=True)
class Halved:
    """An input of half as many rows."""

    rows: int

    def apply(self, draft):
        if draft.program.inputs[0].spec.shape[0] != self.rows:
            return draft
        spec = Tensor((self.rows // 2, 32, 8))
        return draft.with_nodes(**{n.name: replace(n, spec=spec) for n in draft.program.inputs})


class Shy:
    """A pass that finds nothing, and whose neighbours fail all the same."""

    name = summary = example = "shy"

    def edits(self, draft):
        return iter(())

    def search(self, draft, runs):
        yield from ()
        return draft

    def neighbours(self, draft, runs):
        rows = draft.program.inputs[0].spec.shape[0]
        return [Halved(rows)] if rows > 1 else []


def test_what_only_the_certificate_has_found_is_taken():
    final, _, reducer = reduced(large(), lambda draft: True, passes=[Shy()])
    assert [node.spec.shape[0] for node in final.program.inputs] == [1, 1]
    assert reducer.minimal


def test_the_same_questions_whatever_the_number_of_workers():
    draft = residual(100, c7="torch.relu", c70="torch.tanh")
    runs = [reduced(draft, keeps("torch.relu", "torch.tanh"))[1].asked for _ in range(2)]
    assert list(runs[0]) == list(runs[1])


def test_what_the_failure_does_not_need_of_its_context_goes():
    context = Context(mode="max-autotune", fullgraph=True, grad=False, config=("a = 1", "b = 2"))

    def fails(draft):
        return keeps("torch.relu")(draft) and "b = 2" in draft.context.config

    draft = replace(chain(20, c5="torch.relu"), context=context)
    final, _, reducer = reduced(draft, fails)
    assert final.context == Context(config=("b = 2",))
    assert [(one.change, one.verdict) for one in reducer.necessary] == [
        ("without b = 2", Verdict.PASSES)
    ]


def test_gradients_stay_where_they_matter():
    spec = replace(T, requires_grad=True)
    draft = chain(10, c5="torch.relu")
    nodes = tuple(replace(node, spec=spec) for node in draft.program.nodes)
    draft = replace(draft, program=replace(draft.program, nodes=nodes))

    def fails(draft):
        return keeps("torch.relu")(draft) and draft.program.inputs[0].spec.requires_grad

    final, _, reducer = reduced(draft, fails)
    assert targets(final) == ["torch.relu"]
    assert final.program.inputs[0].spec.requires_grad
    assert any("require grad" in one.change for one in reducer.necessary)


def test_a_scope_stays_where_it_matters_and_goes_elsewhere():
    scopes = (Region("torch.no_grad()", 1), Region('torch.autocast("cpu")', 2))
    draft = chain(10, c5="torch.relu")
    nodes = tuple(
        node if node.op is Op.INPUT else replace(node, regions=scopes)
        for node in draft.program.nodes
    )
    draft = replace(draft, program=replace(draft.program, nodes=nodes))

    def fails(draft):
        return any(
            node.target == "torch.relu" and scopes[1] in node.regions
            for node in draft.program.calls
        )

    final, _, _ = reduced(draft, fails)
    assert final.program.calls[0].regions == (scopes[1],)


def test_eager_values_are_kept_only_if_random_ones_do_not_fail():
    def stored(draft):
        return all(node.value is Value.STORED for node in draft.program.inputs)

    oracle = FakeOracle(
        lambda draft: keeps("torch.relu")(draft) and stored(draft),
        expected=failure(Kind.ACCURACY),
    )
    reducer = Reducer(oracle, chain(30, c9="torch.relu"), on_best=lambda d, a: None)
    assert [node.value for node in reducer.run().program.inputs] == [Value.STORED]
    oracle = FakeOracle(keeps("torch.relu"), expected=failure(Kind.ACCURACY))
    reducer = Reducer(oracle, chain(30, c9="torch.relu"), on_best=lambda d, a: None)
    assert all(node.value is not Value.STORED for node in reducer.run().program.inputs)


def test_a_graph_that_does_not_fail_by_itself_is_said_to():
    with pytest.raises(NotReproduced, match="without a failure"):
        reduced(chain(20), lambda draft: False)


def test_where_the_whole_does_not_fail_a_part_may():
    draft = chain(160, c40="torch.relu", c60="torch.tanh")

    def fails(draft):
        return keeps("torch.relu", "torch.tanh")(draft) and len(targets(draft)) <= 50

    final, _, reducer = reduced(draft, fails)
    assert targets(final) == ["torch.relu", "torch.tanh"]
    assert reducer.minimal


def test_after_a_wrong_hint_windows_are_asked_before_the_whole():
    oracle = FakeOracle(keeps("torch.relu"), expected=failure(message="tanh has no lowering"))
    draft = chain(160, c40="torch.relu", c60="torch.tanh")
    reducer = Reducer(oracle, draft, on_best=lambda d, a: None)
    assert targets(reducer.run()) == ["torch.relu"]
    assert max(len(program.calls) for program, _ in oracle.asked) < 160


def test_an_operation_that_cannot_be_written_is_cut_around():
    draft = chain(40, c9="torch.relu", c20="torch.tanh")
    odd = replace(draft.program.by_name["c15"], obstacle="a call of the module odd")
    draft = draft.with_nodes(c15=odd)
    final, _, _ = reduced(draft, keeps("torch.relu", "torch.tanh"))
    assert targets(final) == ["torch.relu", "torch.tanh"]


def test_a_spent_budget_leaves_the_best_so_far():
    oracle = FakeOracle(keeps("torch.relu", "torch.tanh"))
    reducer = Reducer(
        oracle, chain(200, c3="torch.relu", c190="torch.tanh"), on_best=lambda d, a: None
    )
    ask = oracle.ask

    def stop_later(drafts):
        if oracle.rounds >= 6:
            reducer.deadline = 0.0
        return ask(drafts)

    oracle.ask = stop_later
    with pytest.raises(Stopped):
        reducer.run()
    assert {"torch.relu", "torch.tanh"} <= set(targets(reducer.best))
    assert reducer.best.program.operations < 200


def test_only_the_chosen_passes_run():
    draft = replace(chain(20, c5="torch.relu"), context=Context(mode="max-autotune"))
    context = [one for one in ALL if one.name == "context"]
    final, _, _ = reduced(draft, keeps("torch.relu"), passes=context)
    assert final.program.operations == 20
    assert final.context.mode is None


class Excusing(FakeOracle):
    """What passes still differs from eager, by rounding."""

    def ask(self, drafts):
        return [
            replace(answer, reason="rounding") if answer.verdict is Verdict.PASSES else answer
            for answer in super().ask(drafts)
        ]


def test_a_difference_that_is_excused_is_not_said_to_pass():
    def fails(draft):
        return "torch.relu" in targets(draft) and draft.context.dynamic is True

    start = replace(chain(8, c3="torch.relu"), context=Context(dynamic=True))
    told = []
    for oracle in (FakeOracle, Excusing):
        reducer = Reducer(oracle(fails), start, on_best=lambda *found: None)
        assert targets(reducer.run()) == ["torch.relu"]
        told.append(any(one.verdict is Verdict.PASSES for one in reducer.necessary))
    assert told == [True, False]


class Ahead(FakeOracle):
    """Has as many jobs as it is told, and asks ahead in those that are free."""

    jobs = 4

    def ask(self, drafts):
        fresh = sum((one.program, one.context) not in self.asked for one in drafts if one)
        beside = [*self.ahead(-fresh % self.jobs)] if fresh else []
        for draft in beside:
            self.asked[draft.program, draft.context] = (
                Verdict.SAME if self.fails(draft) else Verdict.PASSES
            )
        return super().ask(drafts)


def test_passes_to_come_are_asked_beside_and_nothing_is_found_otherwise():
    odd = Tensor((4, 3), dtype="float64", strides=(1, 4), requires_grad=True)

    def fails(draft):
        return keeps("torch.relu", "torch.tanh")(draft) and draft.program.inputs[0].spec == odd

    start = chain(12, c3="torch.relu", c9="torch.tanh")
    nodes = [replace(node, spec=odd) for node in start.program.nodes]
    start = Draft(replace(start.program, nodes=tuple(nodes)), Context(backward=True))
    finals, fresh = [], []
    for oracle in (FakeOracle(fails), Ahead(fails)):
        counts = []
        ask = oracle.ask

        def counted(drafts, ask=ask, oracle=oracle, counts=counts):
            before = len(oracle.asked)
            answers = ask(drafts)
            counts.append(len(oracle.asked) - before)
            return answers

        oracle.ask = counted
        reducer = Reducer(oracle, start, on_best=lambda *found: None)
        finals.append(reducer.run())
        fresh.append(sum(map(bool, counts)))
    assert finals[0] == finals[1]
    assert fresh == [24, 21]  # rounds in which anything was new


class Careless:
    """Goes on with what is not the simplest of what it has asked."""

    name = summary = example = "careless"

    def edits(self, draft):
        return iter(())

    def neighbours(self, draft, runs):
        return []

    def search(self, draft, runs):
        if draft.program.elements <= 3:
            return draft
        simplest, other = (
            draft.with_nodes(x=replace(draft.program.by_name["x"], spec=Tensor((n,))))
            for n in (2, 3)
        )
        yield [simplest, other]
        return other


def test_the_certificate_is_of_the_simplest_that_failed():
    """Of two sizes each may be small, but not both."""
    final, _, reducer = reduced(chain(3, c1="torch.relu"), keeps("torch.relu"), passes=[Careless()])
    assert final.program.elements == 2
    assert reducer.minimal
