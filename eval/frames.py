"""Messages on a pipe: a length of four bytes, big-endian, then MessagePack."""

import struct
from typing import Any

import msgspec

LENGTH_BYTES = 4
MAX_FRAME_BYTES = 64 << 20


class FrameTooLarge(ValueError):
    """A frame announces, or would have, more bytes than a frame may have."""


def pack(message: Any) -> bytes:
    """One frame. Raises `FrameTooLarge`."""
    payload = msgspec.msgpack.encode(message)
    if len(payload) > MAX_FRAME_BYTES:
        raise FrameTooLarge(f"a message of {len(payload)} bytes does not fit into a frame")
    return struct.pack(">I", len(payload)) + payload


def payload_length(prefix: bytes) -> int:
    """Length of the payload behind a prefix of `LENGTH_BYTES`. Raises `FrameTooLarge`."""
    length: int = struct.unpack(">I", prefix)[0]
    if length > MAX_FRAME_BYTES:
        raise FrameTooLarge(f"a frame of {length} bytes was announced")
    return length
