"""The values that eager computes, brought to disk when a cut needs them and not before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torchcrux.emit.script import probed
from torchcrux.oracle.facts import PROBE
from torchcrux.passes.base import Draft
from torchcrux.program import spec as specs
from torchcrux.program.cut import writable
from torchcrux.program.ir import Node, Op, Program, Value
from torchcrux.program.serial import spec_from_json
from torchcrux.run import Pool, Status, Task

MOST_OBSTACLES = 20
OBSERVE = "torchcrux.oracle.facts:observe"


class EagerFails(Exception):
    """The program does not run in eager: what failed is not the compiler."""


class ValuesLost(Exception):
    """The eager run did not come back; the message says why."""


@dataclass
class Values:
    """Eager's values for one captured program. `inputs` is its safetensors file; `messages` are
    those of the failure that was captured. `refused` is the first exception of eager, with its
    module. If `tolerant`, values behind such an exception are missing without an error."""

    pool: Pool
    draft: Draft
    inputs: Path
    stored_inputs: frozenset[str]
    scratch: Path
    messages: str = ""
    timeout: float | None = None
    known: dict[str, tuple[str, str]] = field(default_factory=dict)
    refused: str = ""
    tolerant: bool = False
    peak: int = 0
    """Bytes that an eager run of the whole program has needed."""
    inputs_seen: dict[str, Node] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for node in self.draft.program.inputs:
            for key in _keys(node):
                if key in self.stored_inputs:
                    self.known[key] = (str(self.inputs.resolve()), key)

    def facts(self) -> Draft:
        """The draft with what an eager run tells: specs, ranges of integers, small literals.

        Calls that cannot be written are cut out of the result; their values stay inputs. So is a
        call whose text does not run, if the captured failure is not the one that eager shows.
        Raises EagerFails if the program fails in eager as it does when it is compiled.
        """
        for _ in range(MOST_OBSTACLES):
            program = writable(self.draft.program)
            found = self._observe(program, save=())
            error = found["error"]
            if error is None:
                nodes = tuple(_with_facts(node, found) for node in program.nodes)
                return replace(self.draft, program=replace(program, nodes=nodes))
            self.refused = self.refused or found["type"]
            self.inputs_seen = {
                node.name: _with_facts(node, found) for node in self.draft.program.inputs
            }
            failing = next((n for n in program.calls if n.name not in found["probed"]), None)
            if failing is None or error in self.messages:
                raise EagerFails(error)
            self.draft = self.draft.with_nodes(
                **{failing.name: replace(failing, obstacle=f"its text does not run: {error}")}
            )
        raise ValuesLost(f"{MOST_OBSTACLES} calls of the graph do not run as text")

    def as_captured(self, captured: Draft) -> Draft:
        """`captured` with what is known of its inputs, whose calls eager did not all run."""
        return captured.with_nodes(**self.inputs_seen)

    def ensure(self, drafts: Iterable[Draft]) -> None:
        """Bring to disk what the inputs of `drafts` need of eager's values, in one eager run."""
        missing = {
            node.name
            for draft in drafts
            for node in draft.program.inputs
            if node.value is Value.STORED
            for key in _keys(node)
            if key not in self.known
        }
        if not missing:
            return
        file = self.scratch / f"values-{len(self.known)}.safetensors"
        found = self._observe(writable(self.draft.program), save=sorted(missing), file=file)
        if found["error"] is not None and not self.tolerant:
            raise EagerFails(found["error"])
        for key in found["saved"]:
            self.known[key] = (str(file), key)

    def sources(self, program: Program) -> dict[str, Sequence[str]]:
        """Where the data file of a script takes its tensors from."""
        return {
            key: list(self.known[key])
            for node in program.inputs
            if node.value is Value.STORED
            for key in _keys(node)
            if key in self.known
        }

    def with_known(self, program: Program) -> Program:
        """`program` with the values that are kept, where they are."""
        nodes = tuple(
            replace(node, value=Value.STORED)
            if node.op is Op.INPUT and all(key in self.known for key in _keys(node))
            else node
            for node in program.nodes
        )
        return replace(program, nodes=nodes)

    def _observe(
        self, program: Program, *, save: Sequence[str], file: Path | None = None
    ) -> Mapping[str, Any]:
        whole = self.with_known(program)
        task = Task(
            OBSERVE,
            {
                "text": probed(whole, self.draft.context, PROBE),
                "data": {key: list(source) for key, source in self.known.items()},
                "save": list(save),
                "file": str(file) if file else "",
            },
            timeout=self.timeout,
        )
        (outcome,) = self.pool.run([task])
        self.peak = max(self.peak, outcome.peak_memory or 0)
        if outcome.status is not Status.DONE:
            raise ValuesLost(
                f"the eager run of the captured graph ended with {outcome.status.value}"
                f" ({outcome.code if outcome.code is not None else outcome.error})"
            )
        found: Mapping[str, Any] = outcome.value
        return found


def _keys(node: Node) -> list[str]:
    return specs.stored_under(node.name, node.spec)


def _with_facts(node: Node, found: Mapping[str, Any]) -> Node:
    if node.name not in found["specs"]:
        return node
    spec = spec_from_json(found["specs"][node.name])
    if isinstance(spec, specs.Tensor) and isinstance(node.spec, specs.Tensor):
        spec = replace(
            spec,
            requires_grad=node.spec.requires_grad,
            is_leaf=node.spec.is_leaf,
            symbols=node.spec.symbols,
            memory=node.spec.memory,
            offset=node.spec.offset,
        )
    elif isinstance(spec, specs.Number) and isinstance(node.spec, specs.Number):
        spec = replace(spec, symbol=node.spec.symbol)
    literal, samples = (
        tuple(float(x) if isinstance(x, str) else x for x in found[what].get(node.name, ()))
        for what in ("elements", "samples")
    )
    return replace(node, spec=spec, elements=literal, samples=samples)
