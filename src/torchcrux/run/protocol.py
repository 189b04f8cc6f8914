"""Messages between processes: a length, a checksum, and JSON.

A frame is 4 bytes of length (big endian), 16 bytes of BLAKE2b of the body, and the body. A frame
that was cut short or written over by somebody else is never taken for a message.
"""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import Any

HEADER = 20
LARGEST = 256 * 2**20
"""Bytes of the largest body. More than that is a mistake, not a message."""


class ProtocolError(Exception):
    """The bytes are not a message."""


def encode(message: Any) -> bytes:
    """Raises what `json.dumps` raises, and `ValueError` for a message that is too large."""
    body = json.dumps(message, separators=(",", ":")).encode()
    if len(body) > LARGEST:
        raise ValueError(f"a message of {len(body)} bytes; the largest has {LARGEST}")
    return len(body).to_bytes(4, "big") + _checksum(body) + body


class Decoder:
    """Cuts a stream of bytes into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Any]:
        """The messages that `data` completes."""
        self._buffer += data
        messages = []
        while (message := self._next()) is not None:
            messages.append(message[0])
        return messages

    def _next(self) -> tuple[Any] | None:
        if len(self._buffer) < HEADER:
            return None
        length = int.from_bytes(self._buffer[:4], "big")
        if length > LARGEST:
            raise ProtocolError(f"a frame announces {length} bytes; the largest has {LARGEST}")
        if len(self._buffer) < HEADER + length:
            return None
        checksum = bytes(self._buffer[4:HEADER])
        body = bytes(self._buffer[HEADER : HEADER + length])
        if _checksum(body) != checksum:
            raise ProtocolError("the checksum of a frame is wrong")
        del self._buffer[: HEADER + length]
        return (json.loads(body),)


def _checksum(body: bytes) -> bytes:
    return blake2b(body, digest_size=HEADER - 4).digest()
