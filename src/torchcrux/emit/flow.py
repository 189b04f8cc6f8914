"""What flows where in a program: which inputs are written to, and what a gradient reaches.

Both need to know which values may share memory: a call that writes into a view writes into what
it is a view of.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torchcrux.emit.random import name_of, writes
from torchcrux.program.ir import Node, Op, Program, Ref
from torchcrux.program.spec import Sequence, Spec, Tensor, tensors

_VIEWS = frozenset({
    "H", "T", "adjoint", "alias", "as_strided", "atleast_1d", "atleast_2d", "atleast_3d",
    "bfloat16", "broadcast_tensors", "broadcast_to", "chunk", "conj", "contiguous", "cpu",
    "cuda", "data", "detach", "diagonal", "double", "dropout", "dsplit", "expand", "expand_as",
    "flatten", "float", "getattr", "getitem", "half", "hsplit", "identity", "imag", "int",
    "long", "mH", "mT", "meshgrid", "moveaxis", "movedim", "narrow", "permute", "pos",
    "positive", "ravel", "real", "reshape", "reshape_as", "resolve_conj", "resolve_neg",
    "select", "slice", "split", "split_with_sizes", "squeeze", "swapaxes", "swapdims", "t",
    "tensor_split", "to", "transpose", "type", "type_as", "unbind", "unflatten", "unfold",
    "unsafe_chunk", "unsafe_split", "unsqueeze", "view", "view_as", "view_as_complex",
    "view_as_real", "vsplit",
})  # fmt: skip
"""Calls whose result may share memory with an operand."""

_NORMS = frozenset({"batch_norm", "instance_norm"})
"""They write into their statistics, which have no gradient, and return something else."""

_SCOPES_WITHOUT_GRAD = ("torch.no_grad()", "torch.inference_mode()")


@dataclass(frozen=True, slots=True)
class Leaf:
    """A tensor that a program returns: `path` is what follows the result (``[0]``), often empty."""

    path: str
    spec: Tensor


@dataclass(frozen=True, slots=True)
class Differentiable:
    """The `outputs` that have a gradient, the `inputs` that require one, and which of those no
    output depends on (`unused`)."""

    outputs: tuple[Leaf, ...]
    inputs: tuple[Node, ...]
    unused: frozenset[str]


def written(program: Program) -> frozenset[str]:
    """The inputs that calls write into, directly or through a view."""
    memory = _memory(program)
    inputs = {node.name for node in program.inputs}
    return frozenset(
        root
        for node in program.calls
        if writes(node)
        for target in targets(node)
        for root in memory[target]
        if root in inputs
    )


def differentiable(program: Program) -> Differentiable:
    """What ``torch.autograd.grad`` can be asked for."""
    inputs = tuple(
        node for node in program.inputs if any(spec.requires_grad for spec in tensors(node.spec))
    )
    memory = _memory(program)
    sources = {node.name: 1 << i for i, node in enumerate(inputs)}
    shared: dict[str, int] = {}

    def known(name: str) -> int:
        mask = sources.get(name, 0)
        for root in memory[name]:
            mask |= shared.get(root, 0)
        return mask

    for node in program.calls:
        mask = 0
        for name in node.references():
            mask |= known(name)
        if not mask or any(r.text in _SCOPES_WITHOUT_GRAD for r in node.regions):
            continue
        wrote = writes(node) and name_of(node) not in _NORMS
        if wrote:
            for target in targets(node):
                for root in memory[target]:
                    shared[root] = shared.get(root, 0) | mask
        if wrote or node.spec is None or any(s.requires_grad for s in tensors(node.spec)):
            sources[node.name] = mask
    found: list[Leaf] = []
    reached = 0
    for i, name in enumerate(program.outputs):
        mask = 0 if name_of(program.by_name[name]) == "detach" else known(name)
        path = "" if len(program.outputs) == 1 else f"[{i}]"
        leaves = [
            leaf
            for leaf in _leaves(program.by_name[name].spec, path)
            if leaf.spec.is_floating and (leaf.spec.requires_grad or name not in sources)
        ]
        if mask and leaves:
            found += leaves
            reached |= mask
    unused = frozenset(node.name for i, node in enumerate(inputs) if not reached >> i & 1)
    return Differentiable(tuple(found), inputs, unused)


def _leaves(spec: Spec | None, path: str) -> Iterator[Leaf]:
    if isinstance(spec, Tensor):
        yield Leaf(path, spec)
    elif isinstance(spec, Sequence):
        for i, item in enumerate(spec.items):
            yield from _leaves(item, f"{path}[{i}]")


def _memory(program: Program) -> Mapping[str, frozenset[str]]:
    """For each value the values whose memory it may use; itself, if it has its own."""
    memory: dict[str, frozenset[str]] = {}
    for node in program.nodes:
        roots: frozenset[str] = frozenset()
        if node.op is not Op.INPUT:
            if writes(node) and name_of(node) not in _NORMS:
                roots = frozenset().union(*(memory[name] for name in targets(node)))
            if node.target.startswith("torch.ops.") or name_of(node) in _VIEWS:
                roots = roots.union(*(memory[name] for name in node.references()))
        memory[node.name] = roots or frozenset({node.name})
    return memory


def targets(node: Node) -> tuple[str, ...]:
    """The operands that a call which `writes` writes into."""
    keywords = dict(node.kwargs)
    if "out" in keywords:
        return Node("", Op.FUNCTION, args=(keywords["out"],)).references()
    if name_of(node) in _NORMS:
        statistics = [*node.args[1:3], keywords.get("running_mean"), keywords.get("running_var")]
        return tuple(arg.name for arg in statistics if isinstance(arg, Ref))
    first = node.args[:1] or tuple(value for _, value in node.kwargs)[:1]
    return Node("", Op.FUNCTION, args=first).references()
