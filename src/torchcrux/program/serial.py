"""Programs and contexts as JSON.

Lists, numbers, strings, booleans and null stand for themselves; everything else is an object with
one key that names its kind, so that a reader never has to guess and nothing is ever evaluated.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from torchcrux.program.context import Backend, Context
from torchcrux.program.ir import (
    Arg,
    Atom,
    Body,
    Node,
    Op,
    Origin,
    Program,
    Ref,
    Region,
    Slice,
    Value,
)
from torchcrux.program.spec import Nothing, Number, Opaque, Sequence, Spec, Tensor


class MalformedProgram(ValueError):
    """The JSON is not a program written by this version or an older one."""


def program_to_json(program: Program) -> dict[str, Any]:
    regions: dict[Region, int] = {}
    for node in program.nodes:
        for region in node.regions:
            regions.setdefault(region, len(regions))
    return {
        "regions": [[region.text, region.number] for region in regions],
        "nodes": [_node_to_json(node, regions) for node in program.nodes],
        "outputs": list(program.outputs),
    }


def program_from_json(data: Any) -> Program:
    try:
        regions = [Region(text, number) for text, number in data["regions"]]
        nodes = tuple(_node_from_json(item, regions) for item in data["nodes"])
        return Program(nodes=nodes, outputs=tuple(data["outputs"]))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise MalformedProgram(f"this is not a program that torchcrux wrote: {error!r}") from error


def _node_to_json(node: Node, regions: dict[Region, int]) -> dict[str, Any]:
    data: dict[str, Any] = {"name": node.name, "op": node.op.value}
    if node.target:
        data["target"] = node.target
    if node.args:
        data["args"] = [_arg_to_json(arg) for arg in node.args]
    if node.kwargs:
        data["kwargs"] = {key: _arg_to_json(value) for key, value in node.kwargs}
    if node.spec is not None:
        data["spec"] = spec_to_json(node.spec)
    if node.regions:
        data["regions"] = [regions[region] for region in node.regions]
    if node.origin is not None:
        data["origin"] = asdict(node.origin)
    if node.obstacle is not None:
        data["obstacle"] = node.obstacle
    if node.op is Op.INPUT:
        data["value"] = node.value.value
        if node.elements:
            data["elements"] = [_arg_to_json(item) for item in node.elements]
        if node.owner:
            data["owner"] = node.owner
    return data


def _node_from_json(data: dict[str, Any], regions: list[Region]) -> Node:
    return Node(
        name=data["name"],
        op=Op(data["op"]),
        target=data.get("target", ""),
        args=tuple(_arg_from_json(arg) for arg in data.get("args", ())),
        kwargs=tuple((k, _arg_from_json(v)) for k, v in data.get("kwargs", {}).items()),
        spec=spec_from_json(data["spec"]) if "spec" in data else None,
        regions=tuple(regions[i] for i in data.get("regions", ())),
        origin=Origin(**data["origin"]) if "origin" in data else None,
        obstacle=data.get("obstacle"),
        value=Value(data.get("value", "random")),
        elements=tuple(_number(_arg_from_json(item)) for item in data.get("elements", ())),
        owner=data.get("owner", ""),
    )


def _arg_to_json(arg: Arg) -> Any:
    match arg:
        case None | bool() | int() | str():
            return arg
        case float():
            return arg if math.isfinite(arg) else {"float": repr(arg)}
        case complex():
            return {"complex": repr(arg)}
        case list():
            return [_arg_to_json(item) for item in arg]
        case tuple():
            return {"tuple": [_arg_to_json(item) for item in arg]}
        case dict():
            return {"dict": [[key, _arg_to_json(value)] for key, value in arg.items()]}
        case Ref(name):
            return {"ref": name}
        case Atom(text):
            return {"atom": text}
        case Slice(start, stop, step):
            return {"slice": [_arg_to_json(item) for item in (start, stop, step)]}
        case Body(program, returns):
            return {"body": [program_to_json(program), _arg_to_json(returns)]}
    raise MalformedProgram(f"an argument of type {type(arg).__name__} cannot be written")


def _arg_from_json(data: Any) -> Arg:
    if data is None or isinstance(data, (bool, int, float, str)):
        return data
    if isinstance(data, list):
        return [_arg_from_json(item) for item in data]
    ((kind, value),) = data.items()
    match kind:
        case "float":
            return float(value)
        case "complex":
            return complex(value)
        case "tuple":
            return tuple(_arg_from_json(item) for item in value)
        case "dict":
            return {key: _arg_from_json(item) for key, item in value}
        case "ref":
            return Ref(value)
        case "atom":
            return Atom(value)
        case "slice":
            start, stop, step = (_arg_from_json(item) for item in value)
            return Slice(start, stop, step)
        case "body":
            program, returns = value
            return Body(program_from_json(program), _arg_from_json(returns))
    raise MalformedProgram(f"unknown kind of argument {kind!r}")


def spec_to_json(spec: Spec) -> dict[str, Any]:
    match spec:
        case Tensor():
            defaults = Tensor(shape=())
            fields = {
                name: list(value) if isinstance(value, tuple) else value
                for name in Tensor.__slots__
                if name != "parts"
                if (value := getattr(spec, name)) != getattr(defaults, name) or name == "shape"
            }
            if spec.parts:
                fields["parts"] = [[name, spec_to_json(part)] for name, part in spec.parts]
            return {"tensor": fields}
        case Number(value, symbol):
            return {"number": _arg_to_json(value), "symbol": symbol}
        case Sequence(items):
            return {"sequence": [spec_to_json(item) for item in items]}
        case Nothing():
            return {"nothing": True}
        case Opaque(what):
            return {"opaque": what}


def spec_from_json(data: dict[str, Any]) -> Spec:
    if "tensor" in data:
        fields: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in data["tensor"].items()
        }
        parts = tuple((name, _tensor(part)) for name, part in fields.pop("parts", ()))
        return Tensor(**fields, parts=parts)
    if "number" in data:
        return Number(_number(_arg_from_json(data["number"])), data.get("symbol", ""))
    if "sequence" in data:
        return Sequence(tuple(spec_from_json(item) for item in data["sequence"]))
    if "nothing" in data:
        return Nothing()
    return Opaque(data["opaque"])


def _tensor(data: dict[str, Any]) -> Tensor:
    spec = spec_from_json(data)
    if isinstance(spec, Tensor):
        return spec
    raise MalformedProgram(f"{data!r} is not a tensor")


def _number(value: Arg) -> bool | int | float | complex | str:
    if isinstance(value, (bool, int, float, complex, str)):
        return value
    raise MalformedProgram(f"{value!r} is not a number")


def context_to_json(context: Context) -> dict[str, Any]:
    data = asdict(context)
    data["options"] = [[key, _arg_to_json(value)] for key, value in context.options]
    return data


def context_from_json(data: dict[str, Any]) -> Context:
    try:
        fields = dict(data)
        fields["backend"] = Backend(**data["backend"])
        fields["options"] = tuple((key, _arg_from_json(value)) for key, value in data["options"])
        for name in ("around", "setup", "config"):
            fields[name] = tuple(data[name])
        for name in ("environment", "operators"):
            fields[name] = tuple((key, value) for key, value in data.get(name, ()))
        fields["earlier"] = tuple(
            tuple((symbol, int(size)) for symbol, size in sizes)
            for sizes in data.get("earlier", ())
        )
        return Context(**fields)
    except (KeyError, TypeError, ValueError) as error:
        raise MalformedProgram(f"this is not a context that torchcrux wrote: {error!r}") from error
