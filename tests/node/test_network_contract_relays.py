"""What every `Network` promises of relays and circuits, asked of the in-memory one and of libp2p over real sockets."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from node.network import Network, PeerChange, Reason, RequestFailed, Unreachable
from tests.node.network_worlds import ECHO, PATIENCE, TOPIC, World, anything, next_change, next_message


@asynccontextmanager
async def around(world: World) -> AsyncIterator[tuple[Network, Network, Network]]:
    """A relay and two networks connected to it, of which the first holds a reservation."""
    async with world.open("relay", relay=True) as relay, world.open("a") as a, world.open("b") as b:
        await a.connect(relay.addresses[0])
        await b.connect(relay.addresses[0])
        assert await a.reserve(relay.peer) >= 60
        yield relay, a, b


def circuit(relay: Network, peer: str) -> str:
    return f"{relay.addresses[0]}/p2p-circuit/p2p/{peer}"


async def test_a_peer_is_reached_through_a_relay(world: World) -> None:
    async def echo(peer: str, body: bytes) -> bytes:
        return peer.encode() + body

    async with around(world) as (relay, a, b):
        assert (a.relays, b.relays, relay.relayed) == ((relay.peer,), (), (a.peer,))
        async with a.changes() as at_a, a.subscribe(TOPIC, anything) as heard, b.subscribe(TOPIC, anything):
            assert await b.connect(circuit(relay, a.peer)) == a.peer
            assert await next_change(at_a) == PeerChange(relay.peer, joined=True)
            assert await next_change(at_a) == PeerChange(b.peer, joined=True)
            assert [peer.relayed for peer in b.peers()] == [peer.relayed for peer in a.peers()] == [False, True]
            assert [peer.outbound for peer in a.peers()] == [True, False]
            a.serve(ECHO, echo)
            body = bytes(200_000)
            assert await b.request(a.peer, ECHO, body, timeout=PATIENCE) == b.peer.encode() + body
            await b.await_audience(TOPIC)
            await b.publish(TOPIC, b"the relay takes no part in this topic")
            assert await next_message(heard) == b"the relay takes no part in this topic"
            await b.connect(circuit(relay, a.peer))
            assert len(b.peers()) == 2


async def test_a_circuit_ends_with_its_relay(world: World) -> None:
    async with around(world) as (relay, a, b):
        await b.connect(circuit(relay, a.peer))
        async with b.changes() as at_b, relay.changes() as at_relay:
            assert {(await next_change(at_b)).peer for _ in range(2)} == {relay.peer, a.peer}
            await a.disconnect(relay.peer)
            assert await next_change(at_b) == PeerChange(a.peer, joined=False)
            while await next_change(at_relay) != PeerChange(a.peer, joined=False):
                pass
        assert relay.relayed == a.relays == ()
        with pytest.raises(Unreachable):
            await b.connect(circuit(relay, a.peer))


async def test_no_circuit_without_a_reservation_and_none_from_who_is_no_relay(world: World) -> None:
    async with around(world) as (relay, a, b):
        with pytest.raises(Unreachable):
            await a.connect(circuit(relay, b.peer))
        with pytest.raises(Unreachable):
            await a.connect(circuit(relay, a.peer))
        with pytest.raises(RequestFailed) as failure:
            await relay.reserve(a.peer)
        assert failure.value.reason == Reason.UNSUPPORTED
        assert len(relay.peers()) == 2
        with pytest.raises(RequestFailed):
            await a.reserve(b.peer)


async def test_a_direct_connection_takes_the_place_of_a_relayed_one(world: World) -> None:
    async with around(world) as (relay, a, b), a.subscribe(TOPIC, anything) as heard, b.subscribe(TOPIC, anything):
        await b.connect(circuit(relay, a.peer))
        await b.await_audience(TOPIC)
        nowhere = f"{relay.addresses[0].partition('/p2p/')[0]}/p2p/{a.peer}"
        with pytest.raises(Unreachable):
            await b.connect(nowhere)
        assert [peer.relayed for peer in b.peers()] == [False, True]
        assert await b.connect(a.addresses[0]) == a.peer
        assert [peer.relayed for peer in b.peers()] == [False, False]
        await b.await_audience(TOPIC)
        await b.publish(TOPIC, b"word")
        assert await next_message(heard) == b"word"
