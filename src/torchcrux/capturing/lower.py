"""From a `torch.fx` graph to a `Program`: metadata only, nothing is run and no tensor is copied."""

from __future__ import annotations

import operator
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import fx

from torchcrux.capturing.forms import form_of, hint, is_fake
from torchcrux.capturing.inline import inline_modules
from torchcrux.capturing.sharing import with_memory
from torchcrux.capturing.spelling import ATTRIBUTES, Spelling
from torchcrux.capturing.subclasses import stored_tensors
from torchcrux.capturing.transforms import joined
from torchcrux.emit.bodies import why_not
from torchcrux.program import spec as specs
from torchcrux.program.checks import used
from torchcrux.program.ir import Arg, Atom, Body, Node, Op, Origin, Program, Ref, Region, Slice


@dataclass(frozen=True)
class Lowered:
    """`tensors` holds the value of each tensor input by node name: the caller's own objects."""

    program: Program
    tensors: Mapping[str, torch.Tensor]


class Inexpressible(Exception):
    """An argument has no spelling; the message says what it is."""


def lower(
    gm: fx.GraphModule, example_inputs: Sequence[Any], spelling: Spelling | None = None
) -> Lowered:
    """Lower `gm`. `example_inputs` match its placeholders in order; fake tensors and symbolic
    integers are taken by their hints."""
    return _Lowering(inline_modules(gm), spelling or Spelling()).run(example_inputs)


_SIZES = {"torch.ops.aten.sym_size.int": "size", "torch.ops.aten.sym_stride.int": "stride"}
"""What Dynamo makes of the methods of these names."""


@dataclass
class _Lowering:
    gm: fx.GraphModule
    spelling: Spelling
    nodes: list[Node] = field(default_factory=list)
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    bodies: dict[str, Body] = field(default_factory=dict)
    unspeakable: dict[str, str] = field(default_factory=dict)
    regions: list[tuple[str, Region]] = field(default_factory=list)
    numbers: int = 0
    grad_mode: Region | None = None

    def run(self, example_inputs: Sequence[Any]) -> Lowered:
        examples = iter(example_inputs)
        inputs: list[Node] = []
        outputs: tuple[str, ...] = ()
        for node in self.gm.graph.nodes:
            match node.op:
                case "placeholder":
                    inputs.append(self._input(node, next(examples, None)))
                case "get_attr":
                    lifted = self._attribute(node)
                    if lifted is not None:
                        inputs.append(lifted)
                case "output":
                    outputs = tuple(dict.fromkeys(n.name for n in node.all_input_nodes))
                case _:
                    if not self._scope(node):
                        self.nodes.append(self._call(node))
        self.nodes = used(joined(inputs, self.nodes, outputs), outputs)
        known = {node.name for node in (*inputs, *self.nodes)}
        nodes = (*inputs, *self.nodes)
        program = Program(nodes, tuple(name for name in outputs if name in known))
        return Lowered(with_memory(program, self.tensors), self.tensors)

    def _input(self, node: fx.Node, example: Any) -> Node:
        fake = node.meta.get("example_value", node.meta.get("val"))
        value = fake if example is None else example
        spec = self._described(value, fake)
        if isinstance(value, torch.Tensor) and not is_fake(value):
            self.tensors |= tensors_of(node.name, value, spec)
        return Node(
            node.name,
            Op.INPUT,
            target=str(node.target),
            spec=spec,
            origin=_origin(node),
            owner=owned.group(1) if (owned := _OWNED.search(str(node.target))) else "",
        )

    def _attribute(self, node: fx.Node) -> Node | None:
        value = operator.attrgetter(str(node.target))(self.gm)
        if isinstance(value, torch.Tensor):
            spec = self._described(value)
            self.tensors |= tensors_of(node.name, value, spec)
            owner = _owner(str(node.target), value)
            return Node(node.name, Op.INPUT, target=str(node.target), spec=spec, owner=owner)
        if isinstance(value, fx.GraphModule):
            lowering = _Lowering(inline_modules(value), self.spelling)
            inner = lowering.run(())
            if inner.tensors:
                self.unspeakable[node.name] = f"the body {node.target} holds tensors of its own"
            for call in inner.program.calls:
                if call.obstacle:
                    self.unspeakable[node.name] = f"{call.obstacle}, in the body {node.target}"
            self.bodies[node.name] = Body(inner.program, lowering.returned())
        else:
            self.unspeakable[node.name] = f"an attribute of type {type(value).__name__}"
        return None

    def _described(self, value: Any, symbolic: Any = None) -> specs.Spec | None:
        """The spec of `value`, with the classes of its tensors known by their text."""
        spec = describe(value, symbolic)
        match spec:
            case specs.Sequence(items):
                told = zip(items, value, strict=True)
                return specs.Sequence(tuple(self._described(one) or item for item, one in told))
            case specs.Tensor(parts=parts) if parts:
                try:
                    self.spelling.operators.learn_classes(value)
                except LookupError as reason:
                    return without_parts(spec, str(reason.args[0]))
        return spec

    def returned(self) -> Arg:
        """What the graph returns, as it returns it."""
        (output,) = (node for node in self.gm.graph.nodes if node.op == "output")
        return self._argument(output.args[0])

    def _call(self, node: fx.Node) -> Node:
        obstacle = None
        args: tuple[Arg, ...] = ()
        kwargs: tuple[tuple[str, Arg], ...] = ()
        target, method = str(node.target), node.op == "call_method"
        try:
            args = tuple(self._argument(arg) for arg in node.args)
            kwargs = tuple((key, self._argument(value)) for key, value in node.kwargs.items())
            if node.op == "call_function":
                target = self.spelling.of(node.target)
                method = target in _SIZES
                target = _SIZES.get(target, target)
                if target in ATTRIBUTES:
                    target, args = "builtins.getattr", (*args, ATTRIBUTES[target])
            elif node.op != "call_method":
                raise Inexpressible(f"a call of the module {node.target}")
        except (Inexpressible, LookupError) as reason:
            obstacle = str(reason.args[0])
        made = Node(
            node.name,
            Op.METHOD if method else Op.FUNCTION,
            target,
            args,
            kwargs,
            self._described(node.meta.get("example_value", node.meta.get("val"))),
            tuple(region for _, region in self.regions)
            + ((self.grad_mode,) if self.grad_mode else ()),
            _origin(node),
            obstacle,
        )
        obstacle = obstacle or why_not(made)
        return made if obstacle is None else _unwritable(made, node, obstacle)

    def _scope(self, node: fx.Node) -> bool:
        """Turn the enter and exit calls of a scope into a region; True if `node` was one."""
        if node.op != "call_function":
            return False
        name = getattr(node.target, "__name__", "")
        if name in _ENTER:
            self.numbers += 1
            self.regions.append((node.name, Region(_ENTER[name](*node.args), self.numbers)))
        elif name in _EXIT:
            token = node.args[0]
            self.regions = [
                pair for pair in self.regions if pair[0] != getattr(token, "name", token)
            ]
        elif name == "_set_grad_enabled":
            self._set_grad(bool(node.args[0]))
        else:
            return False
        return True

    def _set_grad(self, enabled: bool) -> None:
        text = "torch.enable_grad()" if enabled else "torch.no_grad()"
        if self.grad_mode is not None and self.grad_mode.text != text:
            self.grad_mode = None
        else:
            self.numbers += 1
            self.grad_mode = Region(text, self.numbers)

    def _argument(self, arg: Any) -> Arg:
        match arg:
            case fx.Node():
                if arg.name in self.unspeakable:
                    raise Inexpressible(self.unspeakable[arg.name])
                return self.bodies.get(arg.name) or Ref(arg.name)
            case None | bool() | int() | float() | complex() | str():
                return _plain_number(arg)
            case tuple():
                return tuple(self._argument(item) for item in arg)
            case list():
                return [self._argument(item) for item in arg]
            case dict():
                return {str(key): self._argument(value) for key, value in arg.items()}
            case slice():
                return Slice(
                    self._argument(arg.start), self._argument(arg.stop), self._argument(arg.step)
                )
            case torch.device():
                return device_text(arg)
            case torch.dtype() | torch.layout() | torch.memory_format():
                return Atom(str(arg))
            case range():
                return Atom(repr(arg))
            case type():
                return Atom(self.spelling.of(arg))
        if arg is ...:
            return Atom("...")
        if callable(arg):
            return Atom(self.spelling.of(arg))
        raise Inexpressible(f"an argument of type {type(arg).__name__}")


def _unwritable(made: Node, node: fx.Node, reason: str) -> Node:
    """A call that can only be cut: what it needs is kept, not how it needs it."""
    used = tuple(Ref(one.name) for one in node.all_input_nodes if one.op != "get_attr")
    return replace(made, args=used, kwargs=(), obstacle=reason)


def _autocast(device_type: str, dtype: Any = None, enabled: Any = True, cache: Any = None) -> str:
    text = f'torch.autocast("{device_type}"'
    if enabled and dtype is not None:
        text += f", dtype={dtype}"
    if not enabled:
        text += ", enabled=False"
    if cache is False:
        text += ", cache_enabled=False"
    return text + ")"


def _inference_mode(mode: Any = True) -> str:
    return "torch.inference_mode()" if mode else "torch.inference_mode(False)"


_ENTER: Mapping[str, Callable[..., str]] = {
    "_enter_autocast": _autocast,
    "_enter_inference_mode": _inference_mode,
}
_EXIT = frozenset({"_exit_autocast", "_exit_inference_mode"})


def _plain_number(value: Any) -> Arg:
    """Drop subclasses (numpy scalars, enums of int, SymInt with a known value)."""
    for kind in (bool, int, float, complex, str):
        if isinstance(value, kind):
            plain: Any = kind
            return plain(value)  # type: ignore[no-any-return]
    return None


def device_text(device: torch.device) -> str:
    return device.type if not device.index else f"{device.type}:{device.index}"


def describe(value: Any, symbolic: Any = None) -> specs.Spec | None:
    """The spec of a value, real or fake. `symbolic` is its symbolic twin, if there is one."""
    match value:
        case torch.Tensor():
            return _describe_tensor(value, symbolic if symbolic is not None else value)
        case torch.SymInt() | torch.SymFloat() | torch.SymBool():
            return specs.Number(hint(value), str(value))
        case bool() | int() | float() | complex() | str():
            symbol = str(symbolic) if isinstance(symbolic, torch.SymInt) else ""
            return specs.Number(value, symbol)
        case tuple() | list():
            items = [describe(item) for item in value]
            return specs.Sequence(tuple(item or specs.Opaque("unknown") for item in items))
        case None:
            return None
    return specs.Opaque(type(value).__name__)


def _describe_tensor(value: torch.Tensor, symbolic: Any) -> specs.Tensor:
    form = form_of(value)
    dense = form.dense
    shape = tuple(hint(size) for size in dense.shape)
    symbols: tuple[str, ...] = ()
    if dense is value and isinstance(symbolic, torch.Tensor) and symbolic.dim() == len(shape):
        symbols = tuple("" if isinstance(size, int) else str(size) for size in symbolic.shape)
    strides = tuple(hint(step) for step in dense.stride())
    return specs.Tensor(
        shape=shape,
        dtype=str(dense.dtype).removeprefix("torch."),
        device=device_text(value.device),
        strides=None if specs.is_contiguous(shape, strides) else strides,
        requires_grad=value.requires_grad,
        is_leaf=value.is_leaf or not value.requires_grad,
        symbols=symbols if any(symbols) else (),
        conj=dense.is_conj(),
        inference=value.is_inference(),
        form=form.text,
        lengths=form.lengths,
        lost=form.lost,
        parts=tuple((name, _part(part)) for name, part in form.parts),
    )


def _part(tensor: torch.Tensor) -> specs.Tensor:
    return replace(_describe_tensor(tensor, tensor), requires_grad=False, is_leaf=True)


def without_parts(spec: specs.Tensor, lost: str) -> specs.Tensor:
    return replace(spec, form="", parts=(), lost=lost)


def tensors_of(
    name: str, tensor: torch.Tensor, spec: specs.Spec | None
) -> Mapping[str, torch.Tensor]:
    """The tensors that hold the values of an input, by the names under which they are stored."""
    if isinstance(spec, specs.Tensor) and spec.parts:
        return stored_tensors(name, tensor)
    return {name: tensor}


_TORCH = f"{Path(torch.__file__).parent}{os.sep}"
_FRAME = re.compile(r'File "([^"]+)", line (\d+), in ([^\n]*)\n\s*([^\n]*)')
_SEGMENT = re.compile(r"\[['\"]?([^'\"\]]+)['\"]?\]")


_OWNED = re.compile(r"_(parameter|buffer)s_")
"""In the name that Dynamo gives to an input which a module of the user's holds."""


def _owner(name: str, value: torch.Tensor) -> str:
    """What a tensor that the graph itself holds is to the user's module; nothing if it is a
    constant of the tracing."""
    if name.rpartition(".")[2].startswith("_tensor_constant"):
        return ""
    return "parameter" if isinstance(value, torch.nn.Parameter) else "buffer"


def _origin(node: fx.Node) -> Origin | None:
    """The innermost line that is not PyTorch's own."""
    frames = _FRAME.findall(node.meta.get("stack_trace") or "")
    # A mode, such as that of a default device, stands between a call and who made it.
    frames = [frame for frame in frames if frame[2] != "__torch_function__"]
    if not frames:
        return None
    outside = [frame for frame in frames if not frame[0].startswith(_TORCH)]
    file, line, _, code = (outside or frames)[-1]
    stack = node.meta.get("nn_module_stack") or {}
    path = next(reversed(stack.values()))[0] if stack else ""
    path = _SEGMENT.sub(r".\1", path).replace("._modules", "").strip(".")
    parts = path.split(".")
    if parts[:1] == ["L"]:
        parts = parts[2:]
    return Origin(file, int(line), code.strip(), ".".join(parts))
