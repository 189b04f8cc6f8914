"""What the server is started with; it travels as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    channel: int
    """Descriptor of the socket to the parent."""
    parent: int
    bound: bool
    """Die with the thread that started it, not only with its process."""
    scratch: str
    jobs: int
    memory: int | None
    preload: Sequence[str]
    between: str
