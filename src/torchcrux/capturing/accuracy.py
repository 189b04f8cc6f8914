"""Does a compiled graph compute what eager computes?

A graph is compared at the first calls with shapes it has not had yet, at most `MOST_SHAPES` of
them: what a compiler does wrong, it mostly does at every call of the same kernels. Some of it shows
only at a later call; those are compared as well, until `LATER_SECONDS` have been spent on them.
Eager runs a copy of the graph, made before the compiler could change it, on copies of the inputs,
with the random state that the compiled call had; and in the same way both run once more for the
gradients that a backward pass would give, whether or not the user asks for them. A float64 run
tells which of the two is right.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx

from torchcrux import _torch
from torchcrux.capturing.clones import clone_inputs, converted
from torchcrux.capturing.eager import copy_of
from torchcrux.capturing.gradients import gradients, leaves
from torchcrux.capturing.watched import CallCheck, CheckFailed, NotCompared
from torchcrux.oracle.failure import Failure, Kind, Stage
from torchcrux.oracle.gradients import GRADIENT, compare_gradients
from torchcrux.oracle.numerics import Mismatch, compare, roughly_alike, upcast
from torchcrux.oracle.short_products import coarse, matters
from torchcrux.oracle.tolerance import Tolerance
from torchcrux.oracle.undecided import decides, moved, settled
from torchcrux.oracle.widening import in_double

MOST_SHAPES = 4
LATER_SECONDS = 20.0
_RANDOM = ("rand", "dropout", "bernoulli", "multinomial", "normal_", "uniform_", "exponential_")


@dataclass
class AccuracyChecker:
    """A `Checker` that compares the outputs and the changed inputs of every compiled graph.
    `later` are the seconds spent so far on calls with shapes that a graph has had before."""

    tolerance: Tolerance | None = None
    later: float = 0.0

    def compiling(self, gm: fx.GraphModule) -> AbstractContextManager[Any]:
        """Inductor's own random numbers differ from eager's by design; ask for eager's."""
        return _torch.with_fallback_random() if draws_random(gm) else nullcontext()

    def of(self, gm: fx.GraphModule) -> CallCheck:
        return _Comparison(self, copy_of(gm), self.compiling(gm))


@dataclass
class _Comparison:
    checker: AccuracyChecker
    eager: fx.GraphModule
    compiling: AbstractContextManager[Any]
    seen: set[tuple[Any, ...]] = field(default_factory=set)

    def call(self, run: Callable[..., Any], args: Sequence[Any]) -> Any:
        shapes = tuple(_shape(value) for value in args)
        known = shapes in self.seen or len(self.seen) >= MOST_SHAPES
        if known and self.checker.later > LATER_SECONDS:
            return run(*args)
        self.seen.add(shapes)
        before = clone_inputs(args)
        state = _random_state()
        result = run(*args)
        after, started = _random_state(), time.perf_counter()
        try:
            failure = self._compare(run, before, state, result, args)
        finally:
            _set_random_state(after)
        if known:
            self.checker.later += time.perf_counter() - started
        if failure is not None:
            raise CheckFailed(failure, before, result)
        return result

    def _compare(
        self,
        run: Callable[..., Any],
        before: Sequence[Any],
        state: Any,
        result: Any,
        args: Sequence[Any],
    ) -> Failure | None:
        inputs = clone_inputs(before)
        _set_random_state(state)
        try:
            eager = self.eager(*inputs)
        except Exception as error:
            said = (str(error).strip().splitlines() or [""])[0]
            raise NotCompared(f"{type(error).__name__}: {said}", result) from error
        drawn = _moved(state)

        def exact() -> tuple[Any, list[Any]] | None:
            known = zip(converted(before, upcast), before, strict=True)
            wide = [_as(one, value) for one, value in known]
            outputs = self._run(self.eager, wide, state)
            return None if outputs is None else (outputs, wide)

        precise = in_double(exact, lambda found: roughly_alike(leaves(eager), leaves(found[0])))
        changed = [
            i
            for i, (then, now) in enumerate(zip(before, inputs, strict=True))
            if isinstance(now, torch.Tensor) and _differs(then, now)
        ]
        # An input that only the compiled graph has changed differs from eager's as well.
        changed += [
            i
            for i, (then, now) in enumerate(zip(before, args, strict=True))
            if i not in changed and isinstance(now, torch.Tensor) and _differs(then, now)
        ]

        def all_of(outputs: Any, then: Sequence[Any]) -> list[Any]:
            return [*leaves(outputs), *leaves([then[i] for i in changed])]

        def again(seed: int) -> list[Any] | None:
            short = matters(expected, rough)
            near = [_as(moved(value, seed, short=short), value) for value in before]
            outputs = self._run(self.eager, near, state)
            return None if outputs is None else all_of(outputs, near)

        def same() -> list[Any] | None:
            values = clone_inputs(before)
            outputs = self._run(self.eager, values, state)
            return None if outputs is None else all_of(outputs, values)

        expected, actual = all_of(eager, inputs), all_of(result, args)
        truth = None if precise is None else all_of(*precise)
        if drawn and truth is not None and not roughly_alike(expected, truth):
            truth = None  # it has drawn other random numbers
        rough = None
        mismatch = compare(expected, actual, truth, tolerance=self.checker.tolerance)
        if mismatch is not None and self.checker.tolerance is None:
            rough = coarse(same, [*leaves(before), *actual])
            if rough is not None:
                mismatch = compare(expected, actual, truth, rough=rough)
            if mismatch is not None and decides(actual):
                actual = settled(expected, actual, again)
                mismatch = compare(expected, actual, truth, rough=rough)
        if mismatch is None:
            mismatch = self._compare_gradients(run, before, state, result)
        if mismatch is None:
            return None
        return Failure(
            kind=Kind.ACCURACY,
            stage=Stage.BACKWARD if mismatch.attribute == GRADIENT else Stage.RUN,
            exceptions=(("AssertionError", str(mismatch)),),
            frames=(),
            metric={**mismatch.to_json(), **self._chosen()},
        )

    def _chosen(self) -> dict[str, Any]:
        known = self.checker.tolerance
        return {} if known is None else {"tolerance": [known.rtol, known.atol]}

    def _compare_gradients(
        self, run: Callable[..., Any], before: Sequence[Any], state: Any, result: Any
    ) -> Mismatch | None:
        """What a backward pass from the outputs gives, if they have one."""
        if not torch.is_grad_enabled() or not any(_requires_grad(x) for x in leaves(result)):
            return None
        eager = self._gradients(self.eager, clone_inputs(before), state)
        if eager is None:
            return None
        drawn = _moved(state)
        with self.compiling:  # the backward graph is compiled now
            compiled = self._gradients(run, clone_inputs(before), state, eager[1])
        if compiled is None:
            return None

        def exact() -> list[torch.Tensor | None] | None:
            wide = [_as(upcast(value), value) for value in before]
            found = self._gradients(self.eager, wide, state, [upcast(one) for one in eager[1]])
            return None if found is None else found[0]

        known = in_double(exact, lambda found: roughly_alike(eager[0], found))
        if drawn and known is not None and not roughly_alike(eager[0], known):
            known = None

        def same() -> list[torch.Tensor | None] | None:
            found = self._gradients(self.eager, clone_inputs(before), state, eager[1])
            return None if found is None else found[0]

        mismatch = compare_gradients(eager[0], compiled[0], known)
        rough = None if mismatch is None else coarse(same, leaves(before))
        return mismatch if rough is None else compare_gradients(eager[0], compiled[0], known, rough)

    def _gradients(
        self,
        run: Callable[..., Any],
        inputs: Sequence[Any],
        state: Any,
        weights: Sequence[torch.Tensor] | None = None,
    ) -> tuple[list[torch.Tensor | None], list[torch.Tensor]] | None:
        """Gradients and weights; None if there is no gradient, or backward refuses."""
        _set_random_state(state)
        try:
            return gradients(run, inputs, weights)
        except Exception:
            return None

    def _run(self, graph: fx.GraphModule, inputs: Sequence[Any], state: Any) -> Any:
        """The outputs; None if eager refuses, as it may in float64."""
        _set_random_state(state)
        try:
            return graph(*inputs)
        except Exception:
            return None


def draws_random(gm: fx.GraphModule) -> bool:
    """Whether the graph, or a graph inside it, may draw random numbers."""
    return any(
        any(word in str(getattr(node.target, "__name__", node.target)) for word in _RANDOM)
        or "scaled_dot_product" in str(node.target)
        for module in gm.modules()
        if isinstance(module, fx.GraphModule)
        for node in module.graph.nodes
    )


def _differs(one: torch.Tensor, other: torch.Tensor) -> bool:
    return any(map(_differ, leaves(one), leaves(other)))


def _differ(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.shape != other.shape:
        return True
    with torch.no_grad():
        return not torch.equal(one.detach(), other.detach().to(one.dtype))


def _requires_grad(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.requires_grad


def _as(wide: Any, value: Any) -> Any:
    """`wide`, no leaf if `value` is none: so that a graph may write into it."""
    if not _requires_grad(value) or value.is_leaf:
        return wide
    with torch.enable_grad():
        return wide.clone()


def _shape(value: Any) -> Any:
    return tuple(value.shape) if isinstance(value, torch.Tensor) else value


def _random_state() -> list[Any]:
    states = [torch.get_rng_state()]
    if torch.accelerator.is_available():
        module = torch.get_device_module()
        states.append(module.get_rng_state_all())
    return states


def _moved(state: Sequence[Any]) -> bool:
    """Whether random numbers were drawn since `state`."""
    return any(
        not torch.equal(one, other)
        for then, now in zip(state, _random_state(), strict=True)
        for one, other in zip(_each(then), _each(now), strict=True)
    )


def _each(states: Any) -> Sequence[Any]:
    return [states] if isinstance(states, torch.Tensor) else states


def _set_random_state(states: Sequence[Any]) -> None:
    torch.set_rng_state(states[0])
    if len(states) > 1:
        torch.get_device_module().set_rng_state_all(states[1])
