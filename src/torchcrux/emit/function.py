"""A program as the text of a function, with what must stand around it."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from typing import TypeAlias

from torchcrux.emit.calls import argument, expression, quoted, statement
from torchcrux.emit.inlining import inlined
from torchcrux.emit.loops import rolled
from torchcrux.emit.names import variables
from torchcrux.emit.plainly import is_long, plain_lines
from torchcrux.program.ir import Arg, Body, Node, Op, Program, Ref, Region

LONGEST_LAMBDA = 36
"""A function whose text is longer has a name and a line of its own."""

Written: TypeAlias = tuple[list[str], str]
"""The functions to define before a call, and the call as an expression."""


@dataclass
class Around:
    """What the text of a function needs outside of it, gathered while it is written.

    `writers` write the calls that take functions, by target. `taken` are names that mean something
    where the text stands. `definitions` are classes and functions at the level of the module,
    `regions` the bodies among them that several calls share.
    """

    writers: Mapping[str, Callable[[Node, Mapping[str, str], Around], Written]]
    taken: set[str] = field(default_factory=set)
    imports: dict[str, None] = field(default_factory=dict)
    definitions: list[str] = field(default_factory=list)
    regions: list[tuple[Body, str]] = field(default_factory=list)

    def fresh(self, name: str) -> str:
        """`name`, or `name` with a number if that is taken."""
        found, number = name, 1
        while found in self.taken:
            found, number = f"{name}_{number}", number + 1
        self.taken.add(found)
        return found

    def inside(self, names: Iterable[str]) -> Around:
        """The surroundings of a function in whose body `names` mean something as well."""
        taken = {*self.taken, *names}
        return Around(self.writers, taken, self.imports, self.definitions, self.regions)


def function(
    program: Program, names: Mapping[str, str], around: Around, probe: str | None = None
) -> list[str]:
    """The lines of ``def f(...)``. With `probe` it is called after each call; see script.probed."""
    result: Arg = tuple(map(Ref, program.outputs))
    if len(program.outputs) == 1:
        result = Ref(program.outputs[0])
    head = f"def f({', '.join([names[node.name] for node in program.inputs])}):"
    if probe is None and is_long(program):
        written = plain_lines(program.calls, names, around.writers)
        if written is not None:
            if any(map(attrgetter("regions"), program.calls)):
                pieces = zip(program.calls, written, strict=True)
                written = _scoped([(node.regions, [line]) for node, line in pieces])
            last = f"return {', '.join([names[name] for name in program.outputs])}"
            return [head, *indented([*written, last])]
    around.taken.update(names.values())
    lines = block(program, names, result, around, probe)
    return [head, *indented(lines if probe else inlined(rolled(lines)))]


def nested(
    name: str,
    body: Body,
    around: Around,
    enclosing: tuple[str, ...] = (),
    parameters: tuple[str, ...] = (),
) -> list[str]:
    """The lines of a function that computes `body`.

    Its last inputs are no parameters but the `enclosing` expressions. `parameters` are the names of
    its first, if they have names of their own.
    """
    inputs = [node.name for node in body.program.inputs]
    own = len(inputs) - len(enclosing)
    fixed = dict(zip(inputs[own:], enclosing, strict=True))
    fixed |= dict(zip(inputs, parameters, strict=False))
    names = variables(body.program, fixed=fixed)
    lines = block(body.program, names, body.result, around.inside(names.values()))
    listed = ", ".join([names[key] for key in inputs[:own]])
    return [f"def {name}({listed}):", *indented(lines)]


def given(
    base: str,
    body: Body,
    around: Around,
    enclosing: tuple[str, ...] = (),
    parameters: tuple[str, ...] = (),
) -> Written:
    """A function that computes `body`, as an operand: a short one as a lambda, else one called
    `base`, which the lines define."""
    name = around.fresh(base)
    lines = nested(name, body, around, enclosing, parameters)
    listed = lines[0].removeprefix(f"def {name}(").removesuffix("):")
    returned = lines[1].removeprefix("    return ")
    if len(lines) > 2 or returned == lines[1]:
        return lines, name
    if isinstance(body.result, tuple) and len(body.result) > 1:
        returned = f"({returned})"
    text = f"lambda {listed}: {returned}" if listed else f"lambda: {returned}"
    if len(text) > LONGEST_LAMBDA:
        return lines, name
    around.taken.discard(name)
    return [], text


def block(
    program: Program,
    names: Mapping[str, str],
    result: Arg,
    around: Around,
    probe: str | None = None,
    *,
    later: Arg = (),
) -> list[str]:
    """The statements of a function: the calls, and the return of `result`. `later` is what
    statements use that the caller writes after them."""
    used = _used(program, (result, later))
    calls = program.calls
    last = calls[-1] if calls else None
    inlined = last and not probe and _only(result) == last.name and not statement(last, names)
    if inlined:
        calls = calls[:-1]
    pieces = [(node.regions, _call(node, names, around, used, probe)) for node in calls]
    if last and inlined:
        definitions, text = call(last, names, around)
        returned = "return " + argument(result, {last.name: text})
        pieces.append((last.regions, [*definitions, returned]))
    lines = _scoped(pieces)
    if not inlined and result != ():
        text = argument(result, names)
        if isinstance(result, tuple) and len(result) > 1:
            text = text[1:-1]
        lines.append(f"return {text}")
    return _spaced(lines) or ["pass"]


def _scoped(pieces: Sequence[tuple[tuple[Region, ...], list[str]]]) -> list[str]:
    """The lines of calls, each inside its scopes."""
    lines: list[str] = []
    for regions, group in groupby(pieces, key=lambda piece: _scopes(piece[0])):
        statements = [line for _, texts in group for line in texts]
        if regions:
            lines += [f"with {', '.join(regions)}:", *indented(_spaced(statements))]
        else:
            lines += statements
    return lines


def call(node: Node, names: Mapping[str, str], around: Around) -> Written:
    writer = around.writers.get(node.target)
    return ([], expression(node, names)) if writer is None else writer(node, names, around)


def indented(lines: Iterable[str]) -> list[str]:
    return [f"    {line}" if line else "" for line in lines]


def _used(program: Program, result: Arg) -> set[str]:
    """The values that a call or `result` uses."""
    used = set(Node("", Op.FUNCTION, args=(result,)).references())
    for node in program.calls:
        used.update(node.references())
    return used


def _call(
    node: Node,
    names: Mapping[str, str],
    around: Around,
    used: Container[str],
    probe: str | None,
) -> list[str]:
    definitions: list[str] = []
    text = statement(node, names)
    if text is None:
        definitions, text = call(node, names, around)
        if node.name in used or probe is not None:
            text = f"{names[node.name]} = {text}"
    if probe is None or node.target == "operator.setitem":
        return [*definitions, text]
    return [*definitions, text, f"{probe}({quoted(node.name)}, {names[node.name]})"]


def _only(result: Arg) -> str:
    """The name of the one value that `result` is made of."""
    if isinstance(result, (tuple, list)) and len(result) == 1:
        result = result[0]
    return result.name if isinstance(result, Ref) else ""


def _scopes(regions: tuple[Region, ...]) -> tuple[str, ...]:
    if not regions:
        return ()
    return tuple(dict.fromkeys(region.text for region in regions))


def _spaced(lines: list[str]) -> list[str]:
    """With an empty line before and after each nested function."""
    if not any(line.startswith("def ") for line in lines):
        return lines
    spaced: list[str] = []
    inside = False
    for line in lines:
        starts = line.startswith("def ")
        if spaced and (starts or (inside and line and not line.startswith(" "))):
            spaced.append("")
        inside = starts or (inside and (not line or line.startswith(" ")))
        spaced.append(line)
    return spaced
