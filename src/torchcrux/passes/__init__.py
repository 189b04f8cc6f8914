"""Where edits come from, one file a family; in the order in which they are tried."""

from __future__ import annotations

from torchcrux.passes.arguments import Arguments, Numbers, PlainArguments
from torchcrux.passes.attention import Attention
from torchcrux.passes.base import Draft, Edit, Pass
from torchcrux.passes.bodies import ShrinkBodies
from torchcrux.passes.bypass import Bypass, SameCalls, SameInputs
from torchcrux.passes.context import Backward, PlainContext, Regions
from torchcrux.passes.cut import Cut, CutLevel
from torchcrux.passes.data import NegativeValues, NumberedValues, PlainValues, RoundValues
from torchcrux.passes.dtype import Devices, Dtypes
from torchcrux.passes.in_place import OutOfPlace
from torchcrux.passes.inlining import InlineBodies
from torchcrux.passes.inputs import (
    ConstantValues,
    Constructors,
    Gradients,
    Layout,
    LiteralValues,
    RandomValues,
)
from torchcrux.passes.inside import NESTED, PLAIN
from torchcrux.passes.instances import AotArguments, Instances
from torchcrux.passes.numbers import NumberInputs
from torchcrux.passes.outputs import Outputs
from torchcrux.passes.parts import Parts
from torchcrux.passes.rank import Dimensions
from torchcrux.passes.registrations import Registrations
from torchcrux.passes.results import Results
from torchcrux.passes.scattered import Scattered
from torchcrux.passes.sharing import Sharing
from torchcrux.passes.sizes import CallSizes, Sizes
from torchcrux.passes.spelling import PublicNames
from torchcrux.passes.turns import Turns

ALL: tuple[Pass, ...] = (
    Cut(),
    OutOfPlace(),
    Outputs(),
    InlineBodies(),
    ShrinkBodies(),
    Results(),
    NESTED,
    Attention(),
    Backward(),
    Regions(),
    PlainContext(),
    Registrations(),
    Instances(),
    AotArguments(),
    Turns(),
    Gradients(),
    Layout(),
    Constructors(),
    Sharing(),
    RandomValues(),
    ConstantValues(),
    LiteralValues(),
    Parts(),
    Scattered(),
    RoundValues(),
    Sizes(),
    Arguments(),
    Dimensions(),
    Devices(),
    Dtypes(),
    SameCalls(),
    SameInputs(),
    PlainArguments(),
    PublicNames(),
    Numbers(0),
    Numbers(1, 1.0),
    Numbers(2),
    PLAIN,
    CallSizes(),
    PlainValues(),
    PlainValues(swapped=True),
    NumberedValues(),
    NegativeValues(),
    NumberInputs(),
    Bypass(),  # mostly refused: asked last, what it is told holds for the certificate too
)

__all__ = ["ALL", "CutLevel", "Draft", "Edit", "Pass"]
