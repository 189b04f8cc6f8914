"""A program as the plain operators that it comes down to.

Some of what Dynamo records has meaning only as a whole: the calls that enter and leave a transform
of `torch.func` cannot be cut apart. Traced once more while it runs, such a program is a line of
operators without scopes, as a compiler behind AOTAutograd gets it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torchcrux.emit.inputs import Unmakeable
from torchcrux.emit.script import script
from torchcrux.oracle.main_module import main_module
from torchcrux.oracle.values import Values
from torchcrux.passes.base import Draft
from torchcrux.program.cut import writable
from torchcrux.program.ir import Op, Program, targets
from torchcrux.program.literals import substituted
from torchcrux.program.serial import program_from_json, program_to_json
from torchcrux.run import Status, Task

TRACE = "torchcrux.oracle.retrace:trace"


def trace(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Run ``payload["text"]`` with what it compiles traced instead. Runs in a child process.

    `data` is as in `oracle.judge.judge`. Tensors that the trace holds as constants are written to
    the safetensors file `file`. Returns the program and the names of these.
    """
    import torch
    from safetensors.torch import save_file
    from torch.fx.experimental.proxy_tensor import make_fx

    from torchcrux.capturing.forms import form_of
    from torchcrux.capturing.lower import lower
    from torchcrux.oracle.data import lay_data

    path = Path.cwd() / "retrace.py"
    lay_data(path.parent, payload.get("data", {}))
    found: dict[str, Any] = {}

    def compile_nothing(function: Any, **_: Any) -> Any:
        def traced(*args: Any) -> None:
            graph = make_fx(function, _allow_non_fake_inputs=True)(*args)
            graph.graph.eliminate_dead_code()
            graph.recompile()
            lowered = lower(graph, args)
            slots = [node.name for node in graph.graph.nodes if node.op == "placeholder"]
            constants = {k: v for k, v in lowered.tensors.items() if k not in slots}
            save_file(
                {k: form_of(v).dense.detach().cpu().clone() for k, v in constants.items()},
                payload["file"],
            )
            found["program"] = program_to_json(lowered.program)
            found["inputs"] = slots
            found["constants"] = sorted(constants)

        return traced

    original = torch.compile
    torch.compile = compile_nothing  # type: ignore[assignment]
    try:
        exec(compile(payload["text"], str(path), "exec"), main_module(path).__dict__)
    finally:
        torch.compile = original
    return found


def has_transforms(program: Program) -> bool:
    """Whether `program` has calls that only mean something as part of a transform."""
    return any("_functorch." in target for target in targets(program))


def retraced(values: Values) -> Draft | None:
    """The draft of `values` traced anew; None where that is not to be had, or changes nothing.

    Its inputs keep their names, so that `values` knows them; it learns of the constants.
    """
    program = values.with_known(writable(values.draft.program))
    file = values.scratch / "retraced.safetensors"
    try:
        text = script(program, replace(values.draft.context, backward=False))
    except Unmakeable:
        return None
    payload = {"text": text, "data": values.sources(program), "file": str(file)}
    (outcome,) = values.pool.run([Task(TRACE, payload, timeout=values.timeout)])
    if outcome.status is not Status.DONE or "program" not in outcome.value:
        return None
    names = dict(zip(outcome.value["inputs"], (one.name for one in program.inputs), strict=True))
    made = _renamed(program_from_json(outcome.value["program"]), names)
    if not made.calls or [one.target for one in made.calls] == [
        one.target for one in program.calls
    ]:
        return None
    for key in outcome.value["constants"]:
        values.give(key, file)
    return replace(values.draft, program=made)


def _renamed(program: Program, names: Mapping[str, str]) -> Program:
    changed = substituted(program, names)
    nodes = tuple(
        replace(node, name=names.get(node.name, node.name)) if node.op is Op.INPUT else node
        for node in changed.nodes
    )
    return Program(nodes, changed.outputs)
