"""Operators that PyTorch does not provide: where their registration is, as text for a script."""

from __future__ import annotations

import sys
import types
from dataclasses import dataclass, field

from torchcrux.capturing import _torch
from torchcrux.capturing.backend import installed
from torchcrux.capturing.slicing import Slices


@dataclass
class Operators:
    """Registrations found so far: by the dotted name of the operator, without an overload."""

    sources: dict[str, str] = field(default_factory=dict)

    def learn(self, name: str) -> None:
        """Find the registration of ``torch.ops.NAMESPACE.OPERATOR``. Raises LookupError, with
        what it is, if there is no text that registers it anew."""
        short = ".".join(name.split(".")[:4])
        if short not in self.sources:
            self.sources[short] = _registration(*short.split(".")[2:])

    def used_by(self, targets: set[str]) -> tuple[tuple[str, str], ...]:
        """Names and registrations of those that calls of these targets need."""
        return tuple(
            (name, source)
            for name, source in self.sources.items()
            if any(target == name or target.startswith(name + ".") for target in targets)
        )


def _registration(space: str, name: str) -> str:
    definition = _torch.custom_operator(f"{space}::{name}")
    package = sys.modules.get(space)
    if definition is None:
        if package is not None and installed(package):
            return f"import {space}"
        raise LookupError(f"the operator {space}::{name}, which PyTorch does not provide")
    home = sys.modules.get(definition.home)
    if home is not None and installed(home):
        return f"import {home.__name__}"
    for module in list(sys.modules.values()):
        if not isinstance(module, types.ModuleType) or installed(module):
            continue
        for variable, value in list(vars(module).items()):
            if value is definition.handle:
                return _sliced(module, variable, f"{space}::{name}")
    raise LookupError(f"the operator {space}::{name}, which is registered inside of a function")


def _sliced(module: types.ModuleType, variable: str, name: str) -> str:
    slices = Slices(installed)
    try:
        found = slices.need(module, variable)
    except (OSError, SyntaxError) as reason:
        raise LookupError(f"the operator {name}, whose source is not to be had") from reason
    clashes = slices.clashes()
    if not found or clashes:
        raise LookupError(f"the operator {name}, whose registration cannot be taken out")
    return slices.text() + "\n"
