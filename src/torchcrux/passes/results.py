"""What a call that takes functions returns, carries from step to step, or keeps for its gradient:
only what is used."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torchcrux.emit.calls import HIGHER_ORDER
from torchcrux.emit.scans import ASSOCIATIVE_SCAN
from torchcrux.passes.base import Draft, Edit
from torchcrux.passes.layouts import (
    AUTOGRAD_FUNCTION,
    LAYOUTS,
    Layout,
    body_at,
    calls_with_bodies,
    inputs_used,
    items_of,
    pruned,
    sharing,
    without_inputs,
    without_item,
)
from torchcrux.passes.trying import TriedFirst
from torchcrux.program.ir import Arg, Body, Node, Program, Ref
from torchcrux.program.literals import substituted, tidied
from torchcrux.program.spec import Sequence

GETITEM = "operator.getitem"
_MAY_BE_BARE = frozenset(
    f"{HIGHER_ORDER}{name}"
    for name in ("cond", "tag_activation_checkpoint", "invoke_subgraph", "map_impl")
) | {ASSOCIATIVE_SCAN}


@dataclass(frozen=True, slots=True)
class DropResult:
    """Without item `at` of what `node` returns, which nothing uses, nor what is carried from step
    to step for it; so for the calls that share its functions."""

    node: str
    at: int

    def apply(self, draft: Draft) -> Draft:
        program = draft.program
        found = [pair for pair in _giving(program) if pair[0].name == self.node]
        if not found:
            return draft
        node, layout = found[0]
        if self.at not in _unused(node, layout, program):
            return draft
        changed: dict[str, Node] = {}
        for call in sharing(node, program):
            smaller = _without_result(call, layout, self.at)
            if smaller is None:
                return draft
            changed[call.name] = smaller
        return replace(draft, program=_renumbered(program, changed, self.at))

    def __str__(self) -> str:
        return f"{self.node} without result {self.at}"


@dataclass(frozen=True, slots=True)
class DropSaved:
    """The forward of the autograd function `node` does not keep item `at` for its backward, which
    does not use it."""

    node: str
    at: int

    def apply(self, draft: Draft) -> Draft:
        node = draft.program.by_name.get(self.node)
        if node is None or self.at not in _unused_saved(node):
            return draft
        forward, backward, *operands = node.args
        assert isinstance(forward, Body) and isinstance(backward, Body)
        results, saved = _pair(forward)
        smaller = pruned(forward.program, (results, without_item(items_of(saved), self.at)))
        place = _count(results) + self.at
        kwargs = tuple(
            (key, _shifted(value, self.at) if key == "saved_for_backward_idx" else value)
            for key, value in node.kwargs
        )
        args = (smaller, without_inputs(backward, (place,)), *operands)
        return draft.with_nodes(**{node.name: replace(node, args=args, kwargs=kwargs)})

    def __str__(self) -> str:
        return f"{self.node} without what it keeps at {self.at}"


@dataclass(frozen=True, slots=True)
class DropOutcome:
    """Without item `at` of what the forward of the autograd function `node` returns, which nothing
    uses, and whose gradient its backward does not use."""

    node: str
    at: int

    def apply(self, draft: Draft) -> Draft:
        program = draft.program
        node = program.by_name.get(self.node)
        if node is None or self.at not in _unused_outcomes(node, program):
            return draft
        forward, backward, *operands = node.args
        assert isinstance(forward, Body) and isinstance(backward, Body)
        results, saved = _pair(forward)
        smaller = pruned(forward.program, (without_item(items_of(results), self.at), saved))
        kwargs = tuple(
            (key, _shifted(value, self.at) if key == "non_differentiable_idx" else value)
            for key, value in node.kwargs
        )
        args = (smaller, without_inputs(backward, (self.at,)), *operands)
        spec = _spec_without(node, self.at)
        changed = {node.name: replace(node, args=args, kwargs=kwargs, spec=spec)}
        return replace(draft, program=_renumbered(program, changed, self.at))

    def __str__(self) -> str:
        return f"{self.node} without result {self.at}"


@dataclass(frozen=True, slots=True)
class Bare:
    """The functions of `node`, and of the calls that share them, return one value instead of a
    tuple of it."""

    node: str

    def apply(self, draft: Draft) -> Draft:
        program = draft.program
        node = program.by_name.get(self.node)
        if node is None or node.name not in _single(program):
            return draft
        calls = {one.name: _bare(one) for one in sharing(node, program)}
        items = [user for user in program.calls if _item(user, calls) == 0]
        gone = {user.name: user.references()[0] for user in items}
        nodes = [calls.get(one.name, one) for one in program.nodes if one.name not in gone]
        return replace(draft, program=substituted(Program(tuple(nodes), program.outputs), gone))

    def __str__(self) -> str:
        return f"{self.node} returns no tuple"


class Results(TriedFirst):
    name = "results"
    summary = "higher-order operators carry, keep and return only what is used"
    example = "scan(step, (a, b), x)[0]  ->  scan(step, a, x)"

    def edits(self, draft: Draft) -> Iterator[Edit]:
        for node, layout in _giving(draft.program):
            if sharing(node, draft.program)[0] is node:
                unused = _unused(node, layout, draft.program)
                yield from (DropResult(node.name, at) for at in unused)
        for name in _single(draft.program):
            yield Bare(name)
        for node in draft.program.calls:
            unused = _unused_outcomes(node, draft.program)
            yield from (DropOutcome(node.name, at) for at in unused)
            yield from (DropSaved(node.name, at) for at in _unused_saved(node))


def _giving(program: Program) -> Iterator[tuple[Node, Layout]]:
    """Calls that return what their functions return, item by item."""
    for node, layout in calls_with_bodies(program):
        given = [body_at(program, node.name, place) for place in layout.giving]
        if given and all(body and items_of(body.result) for body in given):
            yield node, layout


def _single(program: Program) -> list[str]:
    """The calls, one of those that share functions, that return a tuple of one value, though they
    might return it as it is."""
    found: list[str] = []
    for node, layout in calls_with_bodies(program):
        given = [body_at(program, node.name, place) for place in layout.giving]
        results = [items_of(body.result) for body in given if body]
        if node.target == AUTOGRAD_FUNCTION and not layout.closed:
            forward = body_at(program, node.name, 0)
            assert forward is not None
            results = [items_of(_pair(forward)[0])]
        elif node.target not in _MAY_BE_BARE:
            continue
        calls = sharing(node, program)
        if calls[0] is node and {*map(len, results)} == {1} and _taken(calls, program) is not None:
            found.append(node.name)
    return found


def _bare(node: Node) -> Node:
    args = list(node.args)
    places = (0,) if node.target == AUTOGRAD_FUNCTION else LAYOUTS[node.target][0].giving
    for place in places:
        body = args[place]
        assert isinstance(body, Body)
        if node.target == AUTOGRAD_FUNCTION:
            results, saved = _pair(body)
            returns: Arg = (items_of(results)[0], saved)
        else:
            (returns,) = items_of(body.result)
        args[place] = replace(body, returns=returns)
    spec = node.spec.items[0] if isinstance(node.spec, Sequence) else node.spec
    return replace(node, args=tuple(args), spec=spec)


def _unused(node: Node, layout: Layout, program: Program) -> list[int]:
    """The items of what `node` returns that may go, of what it carries and of the rest: the last
    first, none where there is only one."""
    body = body_at(program, node.name, layout.giving[0])
    assert body is not None
    used = _taken(sharing(node, program), program)
    if used is None:
        return []
    count, states = len(items_of(body.result)), _states(node, layout)
    others = [at for at in range(states, count) if at not in used]
    carried = [at for at in range(states) if at not in used]
    found = others if count - states > 1 else []
    found += carried if states > 1 else []
    return sorted(found, reverse=True)


def _taken(calls: list[Node], program: Program) -> set[int] | None:
    """Which items of what `calls` return are used: those that are returned with all others are
    not. None if that is not known."""
    names = {one.name for one in calls}
    used: set[int] = set()
    for user in program.calls:
        if names.isdisjoint(user.references()):
            continue
        if user.target != GETITEM or not isinstance(user.args[1], int):
            return None
        used.add(user.args[1])
    return used


def _states(node: Node, layout: Layout) -> int:
    return 0 if layout.states is None else len(items_of(node.args[layout.states]))


def _without_result(node: Node, layout: Layout, at: int) -> Node | None:
    """None where a step needs what it would carry no more."""
    args = list(node.args)
    for place in layout.giving:
        body = args[place]
        assert isinstance(body, Body)
        args[place] = pruned(body.program, without_item(items_of(body.result), at))
    states = _states(node, layout)
    if layout.states is not None and at < states:
        times = layout.carried.count(layout.states)
        places = [layout.own + at + time * states for time in range(times)]
        for place in layout.bodies:
            body = args[place]
            assert isinstance(body, Body)
            if any(body.program.inputs[one].name in inputs_used(body) for one in places):
                return None
            args[place] = without_inputs(body, places)
        args[layout.states] = without_item(items_of(args[layout.states]), at)
    return replace(node, args=tuple(args), spec=_spec_without(node, at))


def _spec_without(node: Node, at: int) -> Sequence | None:
    if not isinstance(node.spec, Sequence):
        return None
    return Sequence(tuple(one for i, one in enumerate(node.spec.items) if i != at))


def _renumbered(program: Program, changed: dict[str, Node], gone: int) -> Program:
    """`program` with calls that no longer return item `gone`: those behind it move up."""
    for user in program.calls:
        if _item(user, changed) > gone:
            changed[user.name] = replace(user, args=(user.args[0], _item(user, changed) - 1))
    return tidied(program.replace_nodes(changed))


def _item(user: Node, calls: dict[str, Node]) -> int:
    """Which item of one of the `calls` is taken there; -1 if none is."""
    if user.target != GETITEM or not isinstance(user.args[0], Ref):
        return -1
    index = user.args[1]
    return index if user.args[0].name in calls and isinstance(index, int) else -1


def _unused_outcomes(node: Node, program: Program) -> list[int]:
    """Those that nothing uses, nor their gradients; none if there is only one."""
    if node.target != AUTOGRAD_FUNCTION or node.obstacle is not None:
        return []
    forward, backward = node.args[:2]
    assert isinstance(forward, Body) and isinstance(backward, Body)
    results, needed = items_of(_pair(forward)[0]), inputs_used(backward)
    used = _taken([node], program)
    if used is None:
        return []
    used |= {at for at, one in enumerate(backward.program.inputs) if one.name in needed}
    found = [at for at in range(len(results)) if at not in used]
    return found[::-1] if len(results) > 1 else []


def _unused_saved(node: Node) -> list[int]:
    if node.target != AUTOGRAD_FUNCTION or node.obstacle is not None:
        return []
    forward, backward = node.args[:2]
    assert isinstance(forward, Body) and isinstance(backward, Body)
    results, saved = _pair(forward)
    used, first = inputs_used(backward), _count(results)
    inputs = backward.program.inputs
    return [at for at in range(len(items_of(saved))) if inputs[first + at].name not in used][::-1]


def _pair(forward: Body) -> tuple[Arg, Arg]:
    """What the forward of an autograd function returns: its results, and what backward needs."""
    results, saved = items_of(forward.result)
    return results, saved


def _count(results: Arg) -> int:
    return len(items_of(results)) if isinstance(results, (tuple, list)) else 1


def _shifted(places: Arg, gone: int) -> Arg:
    """Places among the kept values, without one of them."""
    return tuple(at - (at > gone) for at in items_of(places) if isinstance(at, int) and at != gone)
