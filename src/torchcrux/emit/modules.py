"""What the user's module owns, as a script's own module owns it: there are compilers that take
parameters and buffers for constants, which they do with no argument."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torchcrux.emit.flow import written
from torchcrux.emit.inputs import Unmakeable
from torchcrux.emit.memory import sharing, unused
from torchcrux.emit.names import role_of, variables
from torchcrux.emit.plainly import is_long
from torchcrux.program.context import Context
from torchcrux.program.ir import Node, Program
from torchcrux.program.spec import Spec, Tensor

CLASS = "Model"


def owns(program: Program) -> bool:
    """Whether any input was a parameter or buffer of a module."""
    return any(node.owner for node in program.inputs)


def owned(program: Program, context: Context) -> list[Node]:
    """The inputs that the module of the script holds: none that is written to, or a view."""
    if not context.module:
        return []
    others = written(program).union(node.name for group in sharing(program) for node, _ in group)
    return [
        node
        for node in program.inputs
        if node.owner
        and isinstance(node.spec, Tensor)
        and not node.spec.inference
        and node.name not in others
    ]


def named(program: Program, held: list[Node]) -> Mapping[str, str]:
    """The variables of a program, and the attributes that it holds, after their role."""
    if not held or is_long(program):
        return variables(program)
    found: dict[str, str] = {}
    for node in held:
        role = role_of(node) or ("buffer" if node.owner == "buffer" else "weight")
        found[node.name] = unused(role, found.values())
    return variables(program, fixed=found)


def inside(program: Program, names: Mapping[str, str], held: list[Node]) -> Mapping[str, str]:
    """The variables as the body of ``forward`` has them. The lines of a long program are written
    once for all: there the attributes get variables first."""
    if is_long(program):
        return names
    return {**names, **{node.name: f"self.{names[node.name]}" for node in held}}


def as_module(
    function: list[str],
    inputs: list[str],
    program: Program,
    names: Mapping[str, str],
    held: list[Node],
    taken: str,
) -> tuple[list[str], list[str]]:
    """The class whose ``forward`` is `function`, and `inputs` without what it holds, behind its
    instance ``f``. It is called otherwise than all that the text `taken` has.

    Raises Unmakeable if what it holds is not made in one line.
    """
    made = dict(line.split(" = ", 1) for line in inputs if " = " in line)
    texts = {names[node.name]: made.pop(names[node.name], "") for node in held}
    rest = [line for line in inputs if line.partition(" = ")[0] not in texts]
    for name, text in texts.items():
        if not text or any(re.search(rf"\b{name}\b", line) for line in rest):
            raise Unmakeable(f"{name} of a module, which is not made by itself")
    passed = [names[node.name] for node in program.inputs if names[node.name] not in texts]
    setup = [_attribute(node, names[node.name], texts[names[node.name]]) for node in held]
    body = function[1:]
    if is_long(program):
        body = [*(f"    {name} = self.{name}" for name in texts), *body]
    cls = CLASS
    while re.search(rf"\b{cls}\b", taken):
        cls += "_"
    lines = [
        f"class {cls}(torch.nn.Module):",
        "    def __init__(self):",
        "        super().__init__()",
        *(f"        {line}" for line in setup),
        "",
        f"    def forward({', '.join(['self', *passed])}):",
        *(f"    {line}" if line else "" for line in body),
    ]
    return lines, [f"f = {cls}()", *rest]


def _attribute(node: Node, name: str, text: str) -> str:
    assert isinstance(node.spec, Tensor)
    if node.owner == "buffer":
        return f'self.register_buffer("{name}", {text})'
    grad = "" if node.spec.requires_grad else ", requires_grad=False"
    plain = text.replace(", requires_grad=True", "").removesuffix(".requires_grad_()")
    return f"self.{name} = torch.nn.Parameter({plain}{grad})"


def updates(names: Mapping[str, str], held: list[Node]) -> list[str]:
    """The lines that change all that the module holds."""
    return [f"{names[node.name]}{_change(node.spec)}" for node in held if node.spec]


def _change(spec: Spec) -> str:
    assert isinstance(spec, Tensor)
    if spec.dtype == "bool":
        return ".logical_not_()"
    change = ".mul_(2)" if spec.is_floating else ".add_(1)"
    return f".data{change}" if spec.requires_grad else change
