"""What passes between a node and its launcher, the process that starts a confined child for each model.

Frames as in `eval.frames` over a Unix socket; a `SeatRequest` brings open descriptors with its first byte.
"""

import array
import socket
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from eval.frames import LENGTH_BYTES, payload_length

MAX_FILES = 64
PIPES = 3
"""Descriptors in front of the files': the child's socket, its stderr, and the lifeline."""


class SeatRequest(Struct, frozen=True, tag="seat", forbid_unknown_fields=True):
    """A child for jobs that name exactly these files, each of which comes as an open descriptor.

    `level` is one of `eval.sandbox.LEVELS`. `memory` and `mapped` are bytes, see `eval.confinement.Bounds`. The child
    is ended when the other end of the lifeline is closed.
    """

    level: str
    paths: Annotated[tuple[str, ...], Meta(max_length=MAX_FILES)]
    memory: int
    mapped: int
    cpu_seconds: int
    benchmark: str
    data_folder: str | None = None


class SeatEnded(Struct, frozen=True, tag="ended"):
    """A child has ended: its exit code, or minus the number of the signal."""

    code: int


_REQUESTS = msgspec.msgpack.Decoder(SeatRequest)


def rights(descriptors: list[int]) -> list[tuple[int, int, bytes]]:
    """Ancillary data that carries descriptors."""
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors).tobytes())]


def receive_request(control: socket.socket) -> tuple[SeatRequest, list[int]] | None:
    """The next request with its descriptors, or None at the end. Blocks. Raises `msgspec.DecodeError`, `OSError`."""
    prefix, descriptors, _, _ = socket.recv_fds(control, LENGTH_BYTES, PIPES + MAX_FILES)
    if not prefix:
        return None
    prefix += _exactly(control, LENGTH_BYTES - len(prefix))
    return _REQUESTS.decode(_exactly(control, payload_length(prefix))), list(descriptors)


def _exactly(control: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        chunk = control.recv(count - len(data))
        if not chunk:
            raise OSError("the other end went away in the middle of a message")
        data += chunk
    return bytes(data)
