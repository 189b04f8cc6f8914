"""The program being reduced: a straight line of torch calls over named values, as plain data.

A `Program` is what a compiler was given, one step up from `torch.fx`: every call has its public
spelling, scoped regions (autocast, no_grad) are a property of the calls inside them instead of
enter and exit calls, and nothing in it needs torch. So it can be cut, printed and written to disk
by a process that never imports torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property
from itertools import chain
from typing import Any, TypeAlias

from torchcrux.program.spec import Sequence, Spec, tensors
from torchcrux.program.wrapping import named


@dataclass(frozen=True, slots=True)
class Ref:
    """The value of another node."""

    name: str


@dataclass(frozen=True, slots=True)
class Atom:
    """A constant written as a Python expression over `torch`: ``torch.float32``, ``...``."""

    text: str


@dataclass(frozen=True, slots=True)
class Slice:
    start: Arg
    stop: Arg
    step: Arg


@dataclass(frozen=True, slots=True)
class Body:
    """The graph handed to a higher-order operator: a function of its inputs.

    `returns` is what it returns, as an argument over its values, where that is more than the
    tuple of the outputs of `program` (one value, a list, None among them).
    """

    program: Program
    returns: Arg = ()

    @property
    def result(self) -> Arg:
        return self.returns if self.returns != () else tuple(map(Ref, self.program.outputs))


Arg: TypeAlias = (
    "Ref | Atom | Slice | Body | bool | int | float | complex | str"
    " | tuple[Arg, ...] | list[Arg] | dict[str, Arg] | None"
)


class Op(str, Enum):
    INPUT = "input"
    FUNCTION = "function"
    METHOD = "method"


@dataclass(frozen=True, slots=True)
class Region:
    """A scope that encloses calls: the text of its context manager and a number that tells two
    scopes of the same text apart."""

    text: str
    number: int


class Value(str, Enum):
    """How a tensor input gets its elements, simplest first."""

    ZEROS = "zeros"
    ONES = "ones"
    ARANGE = "arange"
    RANDOM = "random"
    LITERAL = "literal"
    STORED = "stored"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a call stands in the user's program."""

    file: str
    line: int
    code: str
    module: str = ""


@dataclass(frozen=True, slots=True)
class Node:
    """One call, or one input.

    `target` is the public dotted name of a function (``torch.relu``, ``operator.add``), or the
    name of a method of the first argument. `spec` says what value eager computes there.
    `obstacle`, if set, says why the call cannot be written as text: it can only be cut.
    `value` and `elements` (row-major, of a LITERAL) are those of an input. `samples` are a few
    numbers, the most unusual first, of a tensor that eager made too large for a literal. `owner` is
    "parameter" or "buffer" for an input that a module of the user's holds as such.
    """

    name: str
    op: Op
    target: str = ""
    args: tuple[Arg, ...] = ()
    kwargs: tuple[tuple[str, Arg], ...] = ()
    spec: Spec | None = None
    regions: tuple[Region, ...] = ()
    origin: Origin | None = None
    obstacle: str | None = None
    value: Value = Value.RANDOM
    elements: tuple[int | float | bool | complex | str, ...] = ()
    samples: tuple[int | float, ...] = ()
    owner: str = ""
    told: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What follows from the rest and is worth keeping: for all programs that share the node."""

    def references(self) -> tuple[str, ...]:
        """Names of the values this call uses, each once, in order of first use."""
        found: dict[str, None] = {}
        for arg in chain(self.args, [value for _, value in self.kwargs]):
            if type(arg) is Ref:
                found[arg.name] = None
            elif type(arg) not in _PLAIN:
                found.update(dict.fromkeys(_references(arg)))
        return tuple(found)


_PLAIN = frozenset([int, float, str, bool, type(None), Atom])
"""Kinds of arguments that refer to no value; telling them apart first is what makes it fast."""


def _references(arg: Any) -> Iterator[str]:
    if isinstance(arg, Ref):
        yield arg.name
    elif isinstance(arg, (tuple, list)):
        for item in arg:
            if isinstance(item, Ref):
                yield item.name
            elif isinstance(item, (tuple, list, dict, Slice)):
                yield from _references(item)
    elif isinstance(arg, dict):
        yield from _references(tuple(arg.values()))
    elif isinstance(arg, Slice):
        yield from _references((arg.start, arg.stop, arg.step))


@dataclass(frozen=True)
class Program:
    """Nodes in execution order (inputs first) and the names of the values returned."""

    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    told: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What follows from the rest and is worth keeping."""

    @cached_property
    def inputs(self) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if node.op is Op.INPUT)

    @cached_property
    def calls(self) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if node.op is not Op.INPUT)

    @cached_property
    def by_name(self) -> Mapping[str, Node]:
        return {node.name: node for node in self.nodes}

    @property
    def operations(self) -> int:
        return len(self.calls)

    @property
    def elements(self) -> int:
        return sum(node.spec.elements for node in self.inputs if node.spec is not None)

    def replace_nodes(self, changes: Mapping[str, Node]) -> Program:
        return replace(self, nodes=tuple(changes.get(node.name, node) for node in self.nodes))


def targets(program: Program) -> Iterator[str]:
    """What is called, in the bodies of higher-order operators as well."""
    for node in program.calls:
        yield node.target
        for arg in node.args:
            if isinstance(arg, Body):
                yield from targets(arg.program)


def defined(program: Program, nodes: Iterable[Node] | None = None) -> set[str]:
    """Dotted names of what the script must define, if torch does not: what is called, and the
    classes of tensors among `nodes`, the inputs if none are given."""
    found = set(targets(program))
    for node in program.inputs if nodes is None else nodes:
        for spec in tensors(node.spec):
            if spec.parts:
                found.update(named(spec.form))
    return found


@dataclass(frozen=True)
class Dataflow:
    """Positions instead of names, computed once for a program and shared by all its candidates.

    `operands[i]` are the positions of the nodes that call i uses. `projections` are calls that
    take one item of the tuple which their first operand returned: they have no meaning of their own
    when that tuple is not computed. `obstacles` are calls that cannot be written, `returned` what
    the program returns, `ignored` calls whose value nobody uses. All positions count calls and
    inputs alike.
    """

    program: Program
    operands: tuple[tuple[int, ...], ...] = field(init=False)
    projections: frozenset[int] = field(init=False)
    obstacles: frozenset[int] = field(init=False)
    returned: frozenset[int] = field(init=False)
    ignored: frozenset[int] = field(init=False)

    def __post_init__(self) -> None:
        nodes = self.program.nodes
        position = {node.name: i for i, node in enumerate(nodes)}
        operands = tuple(tuple(position[name] for name in node.references()) for node in nodes)
        returned = frozenset(position[name] for name in self.program.outputs)
        used = returned.union(*operands)
        facts = {
            "operands": operands,
            "projections": frozenset(
                i
                for i, node in enumerate(nodes)
                if node.target == "operator.getitem"
                and operands[i]
                and isinstance(nodes[operands[i][0]].spec, Sequence)
            ),
            "obstacles": frozenset(i for i, node in enumerate(nodes) if node.obstacle is not None),
            "returned": returned,
            "ignored": frozenset(range(len(nodes))) - used,
        }
        for name, value in facts.items():
            object.__setattr__(self, name, value)
