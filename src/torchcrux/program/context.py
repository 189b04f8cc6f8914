"""All that decides what the compiler does, besides the graph and its inputs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Backend:
    """What ``backend=`` was given.

    A registered name has only `name`. A callable that can be imported has `module` too, and
    `name` is its qualified name there. Otherwise `source` is text that defines `name`.
    """

    name: str = "inductor"
    module: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Context:
    """Arguments of ``torch.compile`` and ambient modes, as they were when the compiler was called.

    `config` are Python statements that set what differs from its default; one whose value is a
    function stands behind the text that defines it. `around` are the texts
    of context managers that enclosed the call (autocast). `setup` are statements for global state
    (default dtype, determinism). `environment` are variables that the script itself has set,
    `operators` dotted names of operators with the text that registers them.

    With `backward` the gradients of what the function returns are computed as well; they are ones,
    or random if `weighted`. If it `writes`, what the function returns is written to. It is called
    `calls` times, with inputs that are made `anew` for each call or the same, and compiled as often
    as `compilations` says, in one process. Before that it is called with the sizes that each of the
    `earlier` gives to symbols. With `marked`, dimensions of symbolic size are marked as
    dynamic one by one. With `equal_nan`, what is no number may stand where eager has none either;
    with `changes`, inputs that are written to are compared as well as what is returned. If
    `synchronized`, the accelerator is waited for after the call. With `module`, the parameters and
    buffers among the inputs are those of a module; they are `updated` after a first call.
    """

    backend: Backend = field(default_factory=Backend)
    mode: str | None = None
    options: tuple[tuple[str, Any], ...] = ()
    dynamic: bool | None = None
    fullgraph: bool = False
    grad: bool = True
    inference: bool = False
    backward: bool = False
    weighted: bool = False
    writes: bool = False
    marked: bool = False
    calls: int = 1
    anew: bool = False
    compilations: int = 1
    earlier: tuple[tuple[tuple[str, int], ...], ...] = ()
    equal_nan: bool = False
    changes: bool = False
    synchronized: bool = False
    module: bool = False
    updated: bool = False
    around: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()
    config: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    operators: tuple[tuple[str, str], ...] = ()
