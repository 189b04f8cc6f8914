"""Whether drafts run in eager, and what they compute there: many at once in one child process.

A fine edit is mostly wrong because the call does not accept it. That costs a millisecond to find
out, a compilation a thousand times as much; so eager is asked first. What eager warns of, nobody
wants in a script: an edit that brings a warning is refused as well.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from collections.abc import Sequence as Listed
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torchcrux.emit.inputs import Unmakeable
from torchcrux.emit.script import probed
from torchcrux.oracle.facts import PROBE, elements_of, measure, number
from torchcrux.oracle.main_module import main_module
from torchcrux.oracle.patience import FACTOR, FIRST_EAGER, LEAST_EAGER, TooLong, at_most
from torchcrux.oracle.values import Values
from torchcrux.passes.base import Draft
from torchcrux.program.cut import severed
from torchcrux.program.ir import Node, Op, Value
from torchcrux.program.serial import spec_from_json, spec_to_json
from torchcrux.program.spec import Number, Sequence, Tensor
from torchcrux.run import Pool, Status, Task

TRY = "torchcrux.oracle.trial:try_all"
MOST_CALLS = 64
"""Longer programs are not tried: an eager run of them is no longer next to nothing."""

ABOUT_EAGER = "called without torch.compile"
"""In a warning that says no more than that this is eager."""

MOST_SMALL = 16
"""Elements of what a call computes that are told where inputs are literals."""

MOST_LISTED = 4096
"""Elements of a stored input among which those that matter are looked for."""


def try_all(payload: Mapping[str, Any]) -> list[dict[str, Any] | None]:
    """Run each of ``payload["texts"]`` (see emit.script.probed); the specs of its values by name
    and the warnings, or None where it does not run, or not in ``payload["seconds"]``. Runs in a
    child process.

    An exception of the type `eager` is what eager should raise: it counts as running."""
    import warnings

    import torch

    from torchcrux.oracle.data import lay_data

    torch.set_warn_always(True)
    path = Path.cwd() / "trial.py"
    lay_data(path.parent, payload.get("data", {}))
    results: list[dict[str, Any] | None] = []
    for text in payload["texts"]:
        seconds = payload["seconds"]
        if _ended:  # here, and with what such programs import
            seconds = min(seconds, max(LEAST_EAGER, FACTOR * _ended[-1]))
        begun = time.monotonic()
        specs: dict[str, Any] = {}
        elements: dict[str, Any] = {}

        def probe(
            name: str,
            value: Any,
            specs: dict[str, Any] = specs,
            elements: dict[str, Any] = elements,
        ) -> None:
            spec = measure(value)
            if spec is not None:
                specs[name] = spec_to_json(spec)
            small = name in payload.get("small", ()) and _is_small(value)
            if small or name in payload.get("listed", ()):
                found = elements_of(value)
                if found is not None:
                    elements[name] = found

        module = main_module(path, **{PROBE: probe})
        try:
            with warnings.catch_warnings(record=True) as warned, at_most(seconds):
                warnings.simplefilter("always")
                exec(compile(text, str(path), "exec"), module.__dict__)
        except TooLong:
            results.append(None)
            continue
        except Exception as error:
            if f"{type(error).__module__}.{type(error).__qualname__}" != payload["eager"]:
                results.append(None)
                continue
        _ended[:] = [time.monotonic() - begun]
        told = sorted({str(one.message) for one in warned if ABOUT_EAGER not in str(one.message)})
        results.append({"specs": specs, "warnings": told, "elements": elements})
    return results


_ended: list[float] = []
"""Seconds that the latest text took that has ended in this process; they are much alike."""


@dataclass
class Trials:
    """Runs drafts in eager; each text once. `fault` is told of an exception of our own."""

    pool: Pool
    values: Values
    timeout: float
    fault: Callable[[], Any]
    eager: str = ""
    known: dict[str, Mapping[str, Any] | None] = field(default_factory=dict)

    def __call__(self, drafts: Listed[Draft], base: Draft) -> list[Draft | None]:
        """Each draft with what eager computes at its calls; None for those that do not run, or
        warn of what `base` does not.

        A program too long to be tried counts as one that runs, and keeps what is known of it.
        """
        texts = [self._text(draft) for draft in (base, *drafts)]
        fresh = {
            text: draft
            for text, draft in zip(texts, (base, *drafts), strict=True)
            if text and text not in self.known
        }
        if fresh:
            self._run(fresh)
        known = self.known.get(texts[0]) if texts[0] else None
        usual = frozenset(known["warnings"]) if known else frozenset()
        return [
            self._told(draft, text, usual) for draft, text in zip(drafts, texts[1:], strict=True)
        ]

    def _text(self, draft: Draft) -> str | None:
        """None for what is too long, empty for what no script can make."""
        if draft.program.operations > MOST_CALLS:
            return None
        try:
            return probed(draft.program, draft.context, PROBE)
        except Unmakeable:
            return ""
        except Exception:  # the edit that made the draft, or the printer, is at fault
            self.fault()
            return ""

    def _run(self, fresh: Mapping[str, Draft]) -> None:
        self.values.ensure(list(fresh.values()))
        data: dict[str, Listed[str]] = {}
        for draft in fresh.values():
            data.update(self.values.sources(draft.program))
        listed = {
            node.name
            for draft in fresh.values()
            for node in draft.program.inputs
            if _is_listed(node)
        }
        small = {
            node.name
            for draft in fresh.values()
            if severed(draft.program) is Value.LITERAL
            for node in draft.program.calls
        }
        seconds = min(self.timeout, max(FIRST_EAGER, FACTOR * self.values.seconds))
        payload = {
            "texts": list(fresh),
            "seconds": seconds,
            "data": data,
            "eager": self.eager,
            "listed": sorted(listed),
            "small": sorted(small),
        }
        # Where no signal interrupts it: the others are asked again, without it.
        task = Task(TRY, payload, timeout=self.timeout + seconds, reuse=True)
        (outcome,) = self.pool.run([task])
        if outcome.status is Status.DONE:
            self.known.update(zip(fresh, outcome.value, strict=True))
        elif len(fresh) == 1:
            self.known.update(dict.fromkeys(fresh))
        else:  # one of them ends the process: each in its own
            for text, draft in fresh.items():
                self._run({text: draft})

    def _told(self, draft: Draft, text: str | None, usual: frozenset[str]) -> Draft | None:
        if text is None:
            return draft
        known = self.known.get(text) if text else None
        if known is None or not usual.issuperset(known["warnings"]):
            return None
        program, specs = draft.program, known["specs"]
        listed = known.get("elements", {})
        nodes = tuple(_listed(_measured(node, specs), listed) for node in program.nodes)
        if any(map(_empties, program.nodes, nodes)):
            return None  # what holds nothing shows nothing
        return replace(draft, program=replace(program, nodes=nodes))


def _is_small(value: Any) -> bool:
    """Whether `value` is a plain tensor of so few numbers that they could stand in a script."""
    import torch

    plain = type(value) is torch.Tensor and value.layout is torch.strided
    return plain and value.numel() <= MOST_SMALL


def _is_listed(node: Node) -> bool:
    """Whether the numbers of an input, too many to be asked of every value, are to be told."""
    return (
        isinstance(node.spec, Tensor)
        and node.value is Value.STORED
        and not node.elements
        and not (node.spec.form or node.spec.lengths)
        and node.spec.elements <= MOST_LISTED
    )


def _listed(node: Node, listed: Mapping[str, Any]) -> Node:
    if node.name not in listed or not (node.op is not Op.INPUT or _is_listed(node)):
        return node
    return replace(node, elements=tuple(map(number, listed[node.name])))


def _empties(before: Node, after: Node) -> bool:
    return (
        isinstance(before.spec, (Tensor, Sequence))
        and isinstance(after.spec, (Tensor, Sequence))
        and before.spec.elements > 0
        and after.spec.elements == 0
    )


def _measured(node: Node, specs: Mapping[str, Any]) -> Node:
    if node.op is Op.INPUT or node.name not in specs:
        return node
    spec = spec_from_json(specs[node.name])
    old = node.spec
    if isinstance(spec, Tensor) and isinstance(old, Tensor):
        same_rank = len(spec.shape) == len(old.shape)
        symbols = old.symbols if same_rank else ()
        spec = replace(spec, requires_grad=old.requires_grad, is_leaf=old.is_leaf, symbols=symbols)
    elif isinstance(spec, Number) and isinstance(old, Number):
        spec = replace(spec, symbol=old.symbol)
    return replace(node, spec=spec, elements=node.elements if spec == old else ())
