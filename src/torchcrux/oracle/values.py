"""The values that eager computes, brought to disk when a cut needs them and not before."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torchcrux.emit.script import probed
from torchcrux.oracle.facts import PROBE
from torchcrux.oracle.stock import Stock, size_of
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
    seconds: float = 0.0
    """What such a run has taken at most."""
    inputs_seen: dict[str, Node] = field(default_factory=dict)
    given: set[str] = field(default_factory=set)
    """Keys of what is known without an eager run."""
    drafts: int = 1
    """How many drafts these have been the values of."""
    stock: Stock = field(init=False)
    _needed: frozenset[str] = frozenset()
    _lost: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.stock = Stock(self.scratch)
        for node in self.draft.program.inputs:
            for key in _keys(node):
                if key in self.stored_inputs:
                    self.give(key, self.inputs.resolve())

    def begin_anew(self, draft: Draft) -> None:
        """From here on these are the values of `draft`, whose inputs are those of the one before;
        what else has the name of a value of that one is another."""
        self.draft = draft
        for key in [key for key in self.known if key not in self.given]:
            del self.known[key]
        self._lost.clear()
        self.stock = Stock(self.scratch)
        self.drafts += 1

    def give(self, key: str, file: Path) -> None:
        """Let it be known that `file` holds `key`."""
        self.known[key] = (str(file), key)
        self.given.add(key)

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

    def portions(self, drafts: Sequence[Draft | None]) -> list[range]:
        """The places of `drafts`, in parts whose values may be on disk at the same time."""
        return self.stock.portions(
            [
                {}
                if draft is None
                else {node.name: size_of(node) for node in self._own(draft.program)}
                for draft in drafts
            ]
        )

    def ensure(self, drafts: Iterable[Draft]) -> None:
        """Bring to disk what the inputs of `drafts` need of eager's values, in one eager run. It
        stays until the next call."""
        nodes = {node.name: node for draft in drafts for node in self._own(draft.program)}
        self._needed = frozenset(nodes)
        self._bring(nodes.values())

    def sources(self, program: Program) -> dict[str, Sequence[str]]:
        """Where the data file of a script takes its tensors from."""
        self._bring(self._own(program))
        return {
            key: list(self.known[key])
            for node in program.inputs
            if node.value is Value.STORED
            for key in _keys(node)
            if key in self.known
        }

    def _own(self, program: Program) -> list[Node]:
        """The inputs of `program` whose values only an eager run can tell."""
        return [
            node
            for node in program.inputs
            if node.value is Value.STORED and not self.given.issuperset(_keys(node))
        ]

    def _bring(self, nodes: Iterable[Node]) -> None:
        by_name = {node.name: node for node in nodes}
        self.stock.used(by_name)
        missing = {
            name: node
            for name, node in by_name.items()
            if any(key not in self.known and key not in self._lost for key in _keys(node))
        }
        if not missing:
            return
        # An input that nobody kept has random values: it would not get the same ones again.
        inputs = (node.name for node in self.draft.program.inputs)
        needed = self._needed.union(by_name, inputs)
        for key in self.stock.make_room(sum(map(size_of, missing.values())), needed):
            del self.known[key]
        folder = Path(tempfile.mkdtemp(prefix="values-", dir=self.scratch))
        found = self._observe(writable(self.draft.program), save=sorted(missing), folder=folder)
        if found["error"] is not None and not self.tolerant:
            raise EagerFails(found["error"])
        saved = found["saved"]
        for node in missing.values():
            files = {key: Path(saved[key]) for key in _keys(node) if key in saved}
            self.stock.add(node, files)
            self.known.update((key, (str(file), key)) for key, file in files.items())
            self._lost.update(key for key in _keys(node) if key not in files)

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
        self, program: Program, *, save: Sequence[str], folder: Path | None = None
    ) -> Mapping[str, Any]:
        whole = self.with_known(program)
        task = Task(
            OBSERVE,
            {
                "text": probed(whole, self.draft.context, PROBE),
                "data": self.sources(whole),
                "save": list(save),
                "folder": str(folder) if folder else "",
            },
            timeout=self.timeout,
        )
        (outcome,) = self.pool.run([task])
        self.peak = max(self.peak, outcome.peak_memory or 0)
        self.seconds = max(self.seconds, outcome.seconds)
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
            base=node.spec.base,
        )
    elif isinstance(spec, specs.Number) and isinstance(node.spec, specs.Number):
        spec = replace(spec, symbol=node.spec.symbol)
    literal, samples = (
        tuple(float(x) if isinstance(x, str) else x for x in found[what].get(node.name, ()))
        for what in ("elements", "samples")
    )
    return replace(node, spec=spec, elements=literal, samples=samples)
