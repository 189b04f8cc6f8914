"""What is asked about a reduced failure, with a fake oracle."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from torchcrux.explain.explanation import explanation, layers
from torchcrux.explain.layers import LADDER
from torchcrux.explain.near import MOST, near
from torchcrux.explain.note import conditions
from torchcrux.oracle.answer import Answer
from torchcrux.oracle.failure import Failure, Kind, Stage
from torchcrux.oracle.judge import Verdict
from torchcrux.passes.base import Draft
from torchcrux.program.context import Backend, Context
from torchcrux.program.ir import Node, Op, Program, Ref, Value
from torchcrux.program.spec import Tensor

FAILED = Answer(
    Verdict.SAME, failure=Failure(Kind.COMPILE_ERROR, Stage.BACKEND, (("E", "no"),), ())
)


def draft(**context):
    nodes = (
        Node("arg0_1", Op.INPUT, spec=Tensor((1,)), value=Value.ONES),
        Node("relu", Op.FUNCTION, "torch.relu", (Ref("arg0_1"),), spec=Tensor((1,))),
    )
    return Draft(Program(nodes, ("relu",)), Context(**context))


@dataclass
class FakeOracle:
    """Answers by `judge(draft)`; eager refuses what is not float32 if `strict`."""

    judge: object
    strict: bool = False
    asked: list = field(default_factory=list)
    told: list = field(default_factory=list)

    def __post_init__(self):
        self.on_answer = lambda draft, answer: self.told.append(draft)
        self.on_other = self.told.append

    def runs(self, drafts, base):
        return [
            None if self.strict and one.program.inputs[0].spec.dtype != "float32" else one
            for one in drafts
        ]

    def ask(self, drafts):
        self.asked += drafts
        answers = [self.judge(one) for one in drafts]
        for one, answer in zip(drafts, answers, strict=True):
            self.on_answer(one, answer)
        return answers


def test_the_first_layer_that_fails_alike_is_the_layer_and_its_draft_the_simplest():
    def judge(one):
        return Answer(Verdict.PASSES) if one.context.backend.name == "eager" else FAILED

    oracle = FakeOracle(judge)
    found = layers(oracle, draft(mode="max-autotune"), FAILED)
    assert found.name == "aot_eager"
    assert found.draft == draft(backend=Backend("aot_eager"))
    assert dict(found.verdicts) == {
        "eager": Verdict.PASSES,
        "aot_eager": Verdict.SAME,
        "aot_eager_decomp_partition": Verdict.SAME,
    }


def test_a_failure_of_no_lower_layer_stays_where_it_is():
    found = layers(FakeOracle(lambda one: Answer(Verdict.PASSES)), draft(), FAILED)
    assert (found.name, found.draft, found.answer) == ("inductor", draft(), FAILED)
    assert [name for name, _ in found.verdicts] == list(LADDER)


def test_another_backend_is_not_replaced():
    oracle = FakeOracle(lambda one: FAILED)
    own = draft(backend=Backend("mine"))
    assert layers(oracle, own, FAILED).draft == own
    assert oracle.asked == []


def test_only_what_ends_without_an_error_is_said_to_pass():
    def judge(one):
        match one.program.inputs[0]:
            case Node(spec=Tensor(dtype="float64")):
                return Answer(Verdict.PASSES)
            case Node(value=Value.ZEROS):
                return Answer(Verdict.PASSES, reason="rounding")
        return Answer(Verdict.PASSES) if one.context.dynamic is False else FAILED

    oracle = FakeOracle(judge)
    found = explanation(oracle, draft(), layers(oracle, draft(), FAILED))
    assert found.near == ("x: float32 → float64",)
    assert found.workarounds == ("torch.compile(…, dynamic=False)",)
    assert oracle.told == [], "an answer was taken for a step of the search"


def test_what_eager_refuses_is_not_asked():
    oracle = FakeOracle(lambda one: FAILED, strict=True)
    explanation(oracle, draft(), layers(oracle, draft(), FAILED))
    assert all(one.program.inputs[0].spec.dtype == "float32" for one in oracle.asked)
    assert any(one.program.inputs[0].value is Value.ZEROS for one in oracle.asked)


def test_the_best_backend_that_passes_is_a_workaround():
    def judge(one):
        return Answer(Verdict.PASSES) if one.context.backend.name in LADDER[:2] else FAILED

    below = replace(draft(), context=Context(dynamic=False))
    oracle = FakeOracle(judge)
    lower = layers(oracle, below, FAILED)
    assert lower.name == "aot_eager_decomp_partition"
    ways = explanation(oracle, lower.draft, lower).workarounds
    assert ways == ('torch.compile(…, backend="aot_eager")',)


def test_few_changes_are_tried_and_none_is_the_draft_itself():
    tried = near(draft())
    assert 0 < len(tried) <= MOST
    assert all(one.draft != draft() for one in tried)


def test_a_repro_names_three_conditions_at_most():
    assert conditions(()) == ""
    assert conditions(("x: float32 → float64", "b")) == "\nPasses: x in float64; b"
    assert conditions(("n: 2 → 1", "y: 2 → -0.5")) == "\nPasses: n = 1; y = -0.5"
    assert conditions(("a", "b", "c", "d")) == "\nPasses: a; b; c"


def test_what_seldom_helps_is_asked_at_once():
    one = draft()
    fails = FakeOracle(lambda _: FAILED)
    told = explanation(fails, one, layers(fails, one, FAILED))
    assert (told.near, told.workarounds) == ((), ())
    assert len(fails.asked) == 10

    def judge(asked):
        line = "torch._inductor.config.epilogue_fusion = False"
        return replace(FAILED, verdict=Verdict.PASSES) if line in asked.context.config else FAILED

    helped = FakeOracle(judge)
    ways = explanation(helped, one, layers(helped, one, FAILED)).workarounds
    assert ways == ("torch._inductor.config.epilogue_fusion = False",)


def test_of_a_number_in_a_call_the_nearest_that_passes_is_told():
    spec = Tensor((1,))
    nodes = (
        Node("a", Op.INPUT, spec=spec, value=Value.ONES),
        Node("b", Op.FUNCTION, "torch.add", (Ref("a"), 1e-12), spec=spec),
    )
    start = Draft(Program(nodes, ("b",)), Context(Backend("mine")))

    def judge(one):
        passes = one.program.calls[0].args[1] in (1e-11, 2e-12, 5e-13)
        return Answer(Verdict.PASSES) if passes else FAILED

    found = explanation(FakeOracle(judge), start, layers(FakeOracle(judge), start, FAILED))
    assert found.near == ("torch.add(x, 2e-12) instead of torch.add(x, 1e-12)",)
