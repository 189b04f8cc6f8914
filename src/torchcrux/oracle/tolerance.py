"""What is compared of outputs, and how closely, where the user or the failure says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What a user has chosen in place of the tolerances by dtype. It alone decides: where it is
    given, no float64 run excuses a difference."""

    rtol: float
    atol: float

    @classmethod
    def of(cls, metric: Mapping[str, Any] | None) -> Tolerance | None:
        """That of a failure, from its metric."""
        known = (metric or {}).get("tolerance")
        return None if known is None else cls(*known)


ALIASES = "aliases"
ATTRIBUTES = ("stride", "requires_grad", ALIASES)
"""What tensors of the same values may differ in; the last is what they share memory with."""
