"""The lines of a script that ask for gradients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torchcrux.emit.flow import Leaf, differentiable
from torchcrux.emit.inputs import Unmakeable, factory
from torchcrux.program.context import Context
from torchcrux.program.ir import Node, Op, Program
from torchcrux.program.spec import Sequence, Tensor


def weights(program: Program, context: Context) -> list[str]:
    """The line that makes ``grad``, the gradients of the outputs; none if these are ones.

    Raises Unmakeable if no output has a gradient.
    """
    leaves = _outputs(program)
    if not context.weighted:
        return []
    made = [factory(Node("grad", Op.INPUT, spec=_plain(leaf))) for leaf in leaves]
    return [f"grad = {made[0] if len(made) == 1 else '(' + ', '.join(made) + ')'}"]


def backward(program: Program, context: Context, result: str) -> str:
    """The statement that runs backward from what the expression `result` returned."""
    leaves = _outputs(program)
    if not context.weighted:
        loss = _loss(leaves, result)
        return f"({loss}).backward()" if len(leaves) > 1 else f"{loss}.backward()"
    if len(leaves) == 1:
        return f"{result}{leaves[0].path}.backward(grad)"
    return f"torch.autograd.backward({_all(program, leaves, result)}, grad)"


def gradients(program: Program, context: Context, names: Mapping[str, str], result: str) -> str:
    """The expression for the gradients of `result`, an expression, with respect to all inputs that
    require one; those that a module holds come last."""
    leaves = _outputs(program)
    found = differentiable(program)
    ordered = sorted(found.inputs, key=lambda node: "." in names[node.name])
    wanted = [
        ("*" if isinstance(node.spec, Sequence) else "") + names[node.name] for node in ordered
    ]
    of = wanted[0] if len(wanted) == 1 and wanted[0][0] != "*" else f"({', '.join(wanted)},)"
    of = of.replace(",)", ")") if len(wanted) > 1 else of
    arguments = [_all(program, leaves, result) if context.weighted else _loss(leaves, result), of]
    if context.weighted:
        arguments.append("grad")
    if found.unused:
        arguments.append("materialize_grads=True")
    return f"torch.autograd.grad({', '.join(arguments)})"


def several(program: Program, context: Context) -> bool:
    """Whether the expressions of this module use the result of the function more than once."""
    leaves = _outputs(program)
    return len(leaves) > 1 and not (context.weighted and len(leaves) == len(program.outputs))


def _outputs(program: Program) -> tuple[Leaf, ...]:
    leaves = differentiable(program).outputs
    if not leaves:
        raise Unmakeable("the gradient of a program that returns nothing with a gradient")
    return leaves


def _all(program: Program, leaves: tuple[Leaf, ...], result: str) -> str:
    if len(leaves) == 1:
        return result + leaves[0].path
    if len(leaves) == len(program.outputs) and all(leaf.path.count("[") == 1 for leaf in leaves):
        return result
    return f"({', '.join(result + leaf.path for leaf in leaves)})"


def _loss(leaves: tuple[Leaf, ...], result: str) -> str:
    return " + ".join(_scalar(leaf, result) for leaf in leaves)


def _scalar(leaf: Leaf, result: str) -> str:
    text = result + leaf.path
    if leaf.spec.dtype.startswith("complex"):
        return f"{text}.abs().sum()"
    return f"{text}.sum()" if leaf.spec.shape else text


def _plain(leaf: Leaf) -> Tensor:
    return replace(
        leaf.spec, strides=None, requires_grad=False, is_leaf=True, low=None, high=None, symbols=()
    )
