"""Programs in a few lines, an eager that is real, and a compiler that is not."""

from __future__ import annotations

from dataclasses import dataclass, field

from torchcrux.emit.script import script
from torchcrux.oracle.answer import Answer
from torchcrux.oracle.failure import Failure, Kind, Stage
from torchcrux.oracle.judge import Verdict
from torchcrux.oracle.trial import Trials, try_all
from torchcrux.passes import Draft
from torchcrux.program.context import Context
from torchcrux.program.ir import Node, Op, Program, Ref
from torchcrux.program.spec import Tensor
from torchcrux.reduction import Reducer
from torchcrux.run import Outcome, Status


class InProcess:
    """A pool that runs its tasks here."""

    def run(self, tasks):
        return [Outcome(Status.DONE, try_all(task.payload)) for task in tasks]


def fail():
    """An edit that raises is a fault of ours."""
    raise AssertionError("an edit or the printer raised an exception")


class NoValues:
    seconds = 0.0

    def ensure(self, drafts):
        pass

    def sources(self, program):
        return {}


def draft(inputs, calls, outputs=None, context=None):
    """`inputs`: shapes or specs by name. `calls`: (name, target, args, kwargs); a target without a
    dot is a method, and an argument ``"%x"`` the value x."""

    def read(arg):
        if isinstance(arg, str) and arg.startswith("%"):
            return Ref(arg[1:])
        return type(arg)(map(read, arg)) if isinstance(arg, (tuple, list)) else arg

    nodes = [
        Node(name, Op.INPUT, spec=spec if isinstance(spec, Tensor) else Tensor(tuple(spec)))
        for name, spec in inputs.items()
    ]
    for name, target, args, *rest in calls:
        kwargs = tuple((key, read(value)) for key, value in (rest[0] if rest else {}).items())
        op = Op.FUNCTION if "." in target else Op.METHOD
        nodes.append(Node(name, op, target, tuple(map(read, args)), kwargs))
    program = Program(tuple(nodes), tuple(outputs or (nodes[-1].name,)))
    unmeasured = Draft(program, context or Context())
    (measured,) = runs([unmeasured], unmeasured)
    assert measured is not None, "the program of the test does not run"
    return measured


def runs(drafts, base):
    return Trials(InProcess(), NoValues(), 10.0, fail)(drafts, base)


@dataclass
class Compiler:
    """Fails in the same way while `fails(program)`."""

    fails: object
    expected: Failure = field(
        default_factory=lambda: Failure(
            Kind.COMPILE_ERROR, Stage.BACKEND, (("CompileError", "no schedule"),), ()
        )
    )
    on_answer: object = None
    asked: dict = field(default_factory=dict)

    def __post_init__(self):
        self.runs = Trials(InProcess(), NoValues(), 10.0, fail)
        self.fault = fail

    def settle(self):
        """What fails here always fails."""

    has_suspects = False

    def suspects(self, draft, *, at_first=False):
        """No numbers are compared here."""
        return ()

    def ask(self, drafts):
        answers = []
        for one in drafts:
            if one is None:
                answers.append(Answer(Verdict.INVALID))
                continue
            text = script(one.program, one.context)
            if text not in self.asked:
                self.asked[text] = Verdict.SAME if self.fails(one.program) else Verdict.PASSES
            answers.append(Answer(self.asked[text], text))
            self.on_answer(one, answers[-1])
        return answers


@dataclass
class Reduced:
    program: Program
    function: list
    inputs: list
    necessary: dict
    questions: int
    text: str


def minimal(start, fails, **options):
    """`start` reduced by all passes. `function` and `inputs` are the lines of its script, `text`; of
    one that calls it twice, where inputs have lines of their own."""
    oracle = Compiler(fails)
    reducer = Reducer(oracle, start, on_best=lambda best, answer: None, **options)
    final = reducer.run()
    assert reducer.minimal
    text = script(final.program, final.context)
    lines = script(final.program, final.context, times=2).splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("def f"))
    last = next(i for i, line in enumerate(lines) if line.startswith("backend ="))
    body = [line.strip() for line in lines[first + 1 : last]]
    end = body.index("")
    return Reduced(
        final.program,
        body[:end],
        [line for line in body[end:] if line],
        {one.change: one.verdict.value for one in reducer.necessary},
        len(oracle.asked),
        text,
    )


def calls(program, name):
    """The calls of that bare name."""
    return [node for node in program.calls if node.target.rpartition(".")[2] == name]


def shape(program, name):
    spec = program.by_name[name].spec
    return spec.shape
