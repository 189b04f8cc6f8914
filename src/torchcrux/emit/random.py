"""Which calls draw random numbers, and which write into an operand."""

from __future__ import annotations

import re
from collections.abc import Iterable

from torchcrux.emit.calls import HIGHER_ORDER
from torchcrux.program.ir import Body, Node, Op, Program

_DRAWS = frozenset(
    [
        "rand",
        "randn",
        "randint",
        "randperm",
        "rand_like",
        "randn_like",
        "randint_like",
        "bernoulli",
        "multinomial",
        "normal",
        "poisson",
        "uniform_",
        "normal_",
        "bernoulli_",
        "exponential_",
        "geometric_",
        "log_normal_",
        "cauchy_",
        "random_",
        "native_dropout",
        "rrelu",
        "gumbel_softmax",
        "fractional_max_pool2d",
        "fractional_max_pool3d",
    ]
)
_DRAWN = re.compile(r"\b(?:" + "|".join(sorted(_DRAWS)) + r")\(")
_PURE = frozenset({"is_", "is_not", "index", "indexOf", "inv", "invert"})
_TRAINING = frozenset(
    ["dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"]
)
_ATTENTION = "scaled_dot_product_attention"


def name_of(node: Node) -> str:
    """The bare name of what is called: ``relu`` for every spelling of it."""
    if node.op is Op.METHOD:
        return node.target
    parts = node.target.split(".")
    return parts[3] if node.target.startswith("torch.ops.") and len(parts) > 3 else parts[-1]


def draws(program: Program, operators: Iterable[tuple[str, str]] = ()) -> bool:
    """Whether any call of `program`, or of a body in it, draws random numbers. `operators` are as
    in a context: one draws if the text that registers it seems to."""
    own = tuple(name for name, source in operators if _DRAWN.search(source))
    return _draws(program, own)


def _draws(program: Program, own: tuple[str, ...]) -> bool:
    suspects = {
        target
        for target in {node.target for node in program.calls}
        if _may_draw(target) or target.startswith((HIGHER_ORDER, *own))
    }
    return bool(suspects) and any(
        draws_random(node)
        or node.target.startswith(own)
        or any(isinstance(arg, Body) and _draws(arg.program, own) for arg in node.args)
        for node in program.calls
        if node.target in suspects
    )


def _may_draw(target: str) -> bool:
    return any(name in target for name in (*_DRAWS, *_TRAINING, _ATTENTION))


def draws_random(node: Node) -> bool:
    name = name_of(node)
    if name in _DRAWS:
        return True
    keywords = dict(node.kwargs)
    if name in _TRAINING:
        flag = keywords.get("training", node.args[2] if len(node.args) > 2 else True)
        share = keywords.get("p", node.args[1] if len(node.args) > 1 else None)
        return flag is not False and share != 0
    if name == _ATTENTION:
        return bool(keywords.get("dropout_p", node.args[4] if len(node.args) > 4 else 0.0))
    return False


def writes(node: Node) -> bool:
    """Whether the call changes a tensor in place, by PyTorch's naming rules."""
    if node.op is Op.INPUT:
        return False
    name = name_of(node)
    keywords = dict(node.kwargs)
    if keywords.get("inplace") is True or "out" in keywords:
        return True
    if node.target.startswith("operator."):
        return name == "setitem" or (name.startswith("i") and name not in _PURE)
    if name in ("batch_norm", "instance_norm") and any(
        value is True for value in (keywords.get("training"), *node.args[5:6])
    ):
        return True
    return name.endswith("_") and not name.startswith("__")
