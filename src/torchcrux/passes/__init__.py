"""Where edits come from, one file a family; in the order in which they are tried."""

from __future__ import annotations

from torchcrux.passes.base import Draft, Edit, Pass
from torchcrux.passes.context import Backward, PlainContext, Regions
from torchcrux.passes.cut import Cut, CutLevel
from torchcrux.passes.inputs import (
    ConstantValues,
    Gradients,
    Layout,
    LiteralValues,
    RandomValues,
)
from torchcrux.passes.outputs import Outputs

ALL: tuple[Pass, ...] = (
    Cut(),
    Outputs(),
    Backward(),
    Regions(),
    PlainContext(),
    Gradients(),
    Layout(),
    RandomValues(),
    ConstantValues(),
    LiteralValues(),
)

__all__ = ["ALL", "CutLevel", "Draft", "Edit", "Pass"]
