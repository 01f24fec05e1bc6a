"""The relay over libp2p under abuse, and what it says to whom; its use is in test_network_contract.py."""

from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
import trio
from trio.testing import MockClock

from node import circuits, relay_service
from node.circuit_wire import HOP, STOP, CircuitFailed, receive, send
from node.libp2p_network import Libp2pNetwork
from node.network import Unreachable
from tests.node.loopback import LOOPBACK, opened

# isort: split
from hypothesis import given
from hypothesis import strategies as st
from libp2p.peer.id import ID
from libp2p.relay.circuit_v2.pb.circuit_pb2 import HopMessage, Status, StopMessage
from libp2p.relay.circuit_v2.pb.circuit_pb2 import PeerId as WirePeer

PATIENCE = 30


@pytest.fixture
async def trio_of_nodes() -> AsyncIterator[tuple[Libp2pNetwork, Libp2pNetwork, Libp2pNetwork]]:
    """A relay, a node with a reservation, and a caller."""
    async with (
        opened("relay", LOOPBACK, relay=True, patience=4 * PATIENCE) as relay,
        opened("called", LOOPBACK, patience=4 * PATIENCE) as called,
        opened("caller", LOOPBACK, patience=4 * PATIENCE) as caller,
    ):
        await called.connect(relay.addresses[0])
        await caller.connect(relay.addresses[0])
        await called.reserve(relay.peer)
        yield relay, called, caller


Nodes = tuple[Libp2pNetwork, Libp2pNetwork, Libp2pNetwork]


async def answer_to(asker: Libp2pNetwork, relay: Libp2pNetwork, message: HopMessage) -> HopMessage:
    stream = await asker.host.new_stream(ID.from_string(relay.peer), [HOP])
    with trio.fail_after(PATIENCE):
        await send(stream, message)
        return await receive(stream, HopMessage)


async def test_refusals_say_why(trio_of_nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    relay, called, caller = trio_of_nodes
    unknown = HopMessage(type=HopMessage.CONNECT, peer=WirePeer(id=ID.from_string(caller.peer).to_bytes()))
    assert (await answer_to(called, relay, unknown)).status == Status.NO_RESERVATION
    assert (await answer_to(caller, relay, HopMessage(type=HopMessage.STATUS))).status == Status.MALFORMED_MESSAGE
    monkeypatch.setattr(relay_service, "RESERVATIONS", 1)
    reserve = HopMessage(type=HopMessage.RESERVE)
    assert (await answer_to(caller, relay, reserve)).status == Status.RESERVATION_REFUSED
    granted = await answer_to(called, relay, reserve)
    assert granted.status == Status.OK
    assert granted.reservation.addrs
    monkeypatch.setattr(relay_service, "CIRCUITS_PER_PEER", 0)
    known = HopMessage(type=HopMessage.CONNECT, peer=WirePeer(id=ID.from_string(called.peer).to_bytes()))
    assert (await answer_to(caller, relay, known)).status == Status.RESOURCE_LIMIT_EXCEEDED
    monkeypatch.undo()
    assert (await answer_to(caller, relay, known)).status == Status.OK


async def test_junk_is_answered_and_harms_nobody(trio_of_nodes: Nodes) -> None:
    relay, called, caller = trio_of_nodes
    for junk in (b"\x05\xff\xff\xff\xff\xff", b"\xff\xff\xff\xff\xff", b"\xff\x7f" + bytes(9000)):
        stream = await caller.host.new_stream(ID.from_string(relay.peer), [HOP])
        await stream.write(junk)
        with trio.fail_after(PATIENCE):
            assert (await receive(stream, HopMessage)).status == Status.MALFORMED_MESSAGE
    await caller.connect(f"{relay.addresses[0]}/p2p-circuit/p2p/{called.peer}")


async def test_only_a_relay_of_ones_own_hands_over_calls(trio_of_nodes: Nodes) -> None:
    relay, called, caller = trio_of_nodes
    await caller.connect(called.addresses[0])
    stream = await caller.host.new_stream(ID.from_string(called.peer), [STOP])
    await send(stream, StopMessage(type=StopMessage.CONNECT, peer=WirePeer(id=ID.from_string(relay.peer).to_bytes())))
    with trio.fail_after(PATIENCE):
        assert (await receive(stream, StopMessage)).status == Status.PERMISSION_DENIED


async def test_a_call_that_is_not_taken_fails_and_frees_its_place(
    trio_of_nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay, called, caller = trio_of_nodes
    monkeypatch.setattr(circuits, "CALLS", 0)
    with pytest.raises(Unreachable):
        await caller.connect(f"{relay.addresses[0]}/p2p-circuit/p2p/{called.peer}")
    monkeypatch.undo()
    assert relay._relay
    assert not relay._relay._circuits
    await caller.connect(f"{relay.addresses[0]}/p2p-circuit/p2p/{called.peer}")


async def test_two_circuits_of_one_peer_live_and_end_apart(trio_of_nodes: Nodes) -> None:
    async def echo(peer: str, body: bytes) -> bytes:
        return body

    relay, called, caller = trio_of_nodes
    async with opened("another", LOOPBACK, patience=4 * PATIENCE) as another:
        await another.connect(relay.addresses[0])
        await another.reserve(relay.peer)
        for end in (called, another):
            end.serve("/echo/1", echo)
            await caller.connect(f"{relay.addresses[0]}/p2p-circuit/p2p/{end.peer}")
        await caller.disconnect(another.peer)
        assert await caller.request(called.peer, "/echo/1", b"word", timeout=PATIENCE) == b"word"
        await caller.connect(f"{relay.addresses[0]}/p2p-circuit/p2p/{another.peer}")
        await caller.disconnect(called.peer)
        assert await caller.request(another.peer, "/echo/1", b"word", timeout=PATIENCE) == b"word"


class Bytes:
    """A stream that gives these bytes, as many at a time as it likes, then nothing."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    async def read(self, count: int) -> bytes:
        await trio.lowlevel.checkpoint()
        head, self.content = self.content[: max(1, count // 2)], self.content[max(1, count // 2) :]
        return head

    async def write(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.content += data

    async def close_write(self) -> None:
        await trio.lowlevel.checkpoint()


class NoHost:
    """Takes a handler and never calls it."""

    def set_stream_handler(self, protocol: str, handler: object) -> None: ...


async def test_a_circuit_is_paced_and_carries_only_its_own_bytes(autojump_clock: MockClock) -> None:
    relay = relay_service.RelayService(NoHost(), lambda: (), lambda peer: True)  # type: ignore[arg-type]
    burst, pace = int(relay_service.BURST_BYTES), relay_service.PACE_BYTES_PER_SECOND
    content = bytes(burst) + b"word" * burst
    sink, begun = Bytes(b""), trio.current_time()
    with trio.CancelScope() as scope:
        await relay._copy(Bytes(content), sink, scope)
    assert sink.content == content
    assert trio.current_time() - begun >= 4 * burst / pace - relay_service.CHUNK_BYTES / pace
    assert not scope.cancel_called


@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_our_own_error(content: bytes) -> None:
    async def main() -> None:
        with suppress(CircuitFailed):
            await receive(Bytes(content), HopMessage)

    trio.run(main)


@given(st.binary(max_size=200))
def test_not_a_byte_beyond_the_message_is_taken(after: bytes) -> None:
    async def main() -> None:
        stream = Bytes(b"")
        await send(stream, HopMessage(type=HopMessage.RESERVE))
        stream.content += after
        assert (await receive(stream, HopMessage)).type == HopMessage.RESERVE
        assert stream.content == after

    trio.run(main)
