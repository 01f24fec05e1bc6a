"""The messages of circuit relay v2 on a stream (libp2p specs, relay/circuit-v2): a varint length, then protobuf."""

from typing import Any, TypeVar

import trio

import node.hardening_import  # noqa: F401  comes before libp2p

# isort: split
from google.protobuf.message import DecodeError, Message
from libp2p.relay.circuit_v2.pb.circuit_pb2 import HopMessage, Status, StopMessage
from libp2p.utils import encode_varint_prefixed

HOP = "/libp2p/circuit/relay/0.2.0/hop"
STOP = "/libp2p/circuit/relay/0.2.0/stop"
MESSAGE_MAXIMUM = 4096
MESSAGE_SECONDS = 10.0
CLOSE_SECONDS = 1.0

AnyMessage = TypeVar("AnyMessage", bound=Message)


class CircuitFailed(Exception):
    """The other side refused, broke off, or does not speak the protocol; `status` as in the specification, or 0."""

    def __init__(self, sentence: str, status: int = 0) -> None:
        super().__init__(sentence)
        self.status = status


async def send(stream: Any, message: Message) -> None:
    """Write one message."""
    await stream.write(encode_varint_prefixed(message.SerializeToString()))


async def receive(stream: Any, kind: type[AnyMessage]) -> AnyMessage:
    """Read one message and not a byte beyond it: a circuit's own bytes follow. Raises `CircuitFailed`."""
    length = shift = 0
    while True:
        byte = (await _exactly(stream, 1))[0]
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
        if shift > 14:
            raise CircuitFailed("a message's length has more than two bytes", Status.MALFORMED_MESSAGE)
    if length > MESSAGE_MAXIMUM:
        raise CircuitFailed(f"a message of {length} bytes", Status.MALFORMED_MESSAGE)
    message = kind()
    try:
        message.ParseFromString(await _exactly(stream, length))
    except DecodeError as error:
        raise CircuitFailed("no protobuf message", Status.MALFORMED_MESSAGE) from error
    return message


async def _exactly(stream: Any, count: int) -> bytes:
    content = b""
    while len(content) < count:
        chunk = await stream.read(count - len(content))
        if not chunk:
            raise CircuitFailed("the stream ended inside a message")
        content += chunk
    return content


def hop_status(status: "Status.ValueType") -> HopMessage:
    """A relay's answer to whoever asked for a reservation or a circuit."""
    return HopMessage(type=HopMessage.STATUS, status=status)


def stop_status(status: "Status.ValueType") -> StopMessage:
    """A called peer's answer to the relay."""
    return StopMessage(type=StopMessage.STATUS, status=status)


async def reset(stream: Any) -> None:
    """Break a stream off, whatever state it is in."""
    with trio.move_on_after(CLOSE_SECONDS, shield=True):
        await stream.reset()
