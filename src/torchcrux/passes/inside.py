"""Changes of single calls, in the bodies of calls that take functions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torchcrux.passes.arguments import Arguments, Numbers, PlainArguments
from torchcrux.passes.base import Draft, Edit, Pass
from torchcrux.passes.bodies import ShrinkBodies
from torchcrux.passes.layouts import body_at, calls_with_bodies, pruned, sharing, with_body
from torchcrux.passes.results import Results
from torchcrux.passes.spelling import PublicNames
from torchcrux.passes.trying import TriedFirst
from torchcrux.program.ir import Body, Program


@dataclass(frozen=True, slots=True)
class InBody:
    """`edit` in the body at `place` of `node`, and of the calls that share it. It leaves the names
    of what it does not drop."""

    node: str
    place: int
    edit: Edit

    def apply(self, draft: Draft) -> Draft:
        body = body_at(draft.program, self.node, self.place)
        if body is None:
            return draft
        calls = self.edit.apply(within(draft, body)).program.calls
        if calls == body.program.calls:
            return draft
        program = Program((*body.program.inputs, *calls), body.program.outputs)
        return with_body(draft, self.node, self.place, pruned(program, body.result))

    def __str__(self) -> str:
        return f"{self.edit} in a body of {self.node}"


class Inside(TriedFirst):
    """What other `passes` would change, in bodies, and in the bodies of calls in bodies. These must
    leave the names of calls as they are."""

    def __init__(self, name: str, summary: str, example: str, *passes: Pass) -> None:
        self.name, self.summary, self.example = name, summary, example
        self._passes = passes

    def edits(self, draft: Draft) -> Iterator[Edit]:
        for node, layout in calls_with_bodies(draft.program):
            if sharing(node, draft.program)[0] is not node:
                continue
            for place in layout.bodies:
                body = body_at(draft.program, node.name, place)
                assert body is not None
                for one in (*self._passes, self):
                    for edit in one.edits(within(draft, body)):
                        yield InBody(node.name, place, edit)


def within(draft: Draft, body: Body) -> Draft:
    """What a body computes, as a draft of its own."""
    return Draft(body.program, draft.context)


NESTED = Inside(
    "nested-bodies",
    "what higher-order operators in the bodies of others take shrinks as well",
    "vmap(lambda x: grad(lambda y: y.sin().sum())(x))  ->  vmap(lambda x: grad(torch.sum)(x))",
    ShrinkBodies(),
    Results(),
)
PLAIN = Inside(
    "inside",
    "the calls in the bodies of higher-order operators become as plain as others",
    "checkpoint(lambda x: F.linear(x, w, b), x)  ->  checkpoint(lambda x: x @ w, x)",
    Arguments(),
    PlainArguments(),
    PublicNames(),
    Numbers(0),
    Numbers(1, 1.0),
    Numbers(2),
)
