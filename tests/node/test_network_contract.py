"""What every `Network` promises of connections, asked of the in-memory one and of libp2p over real sockets."""

import pytest
import trio

from node.network import PeerChange, Unreachable
from tests.node.network_worlds import World, chain, next_change


async def test_an_address_names_the_peer_and_connecting_tells_both_sides(world: World) -> None:
    async with world.open("a") as a, world.open("b") as b, a.changes() as at_a, b.changes() as at_b:
        assert b.addresses
        assert all(address.endswith(f"/p2p/{b.peer}") for address in b.addresses)
        assert await a.connect(b.addresses[0]) == b.peer
        assert await next_change(at_a) == PeerChange(b.peer, joined=True)
        assert await next_change(at_b) == PeerChange(a.peer, joined=True)
        (seen_by_a,) = a.peers()
        (seen_by_b,) = b.peers()
        assert seen_by_a.peer == b.peer
        assert seen_by_a.outbound
        assert b.addresses[0] == f"{seen_by_a.address}/p2p/{b.peer}"
        assert seen_by_b.peer == a.peer
        assert not seen_by_b.outbound
        assert seen_by_b.address.split("/")[:3] == a.addresses[0].split("/")[:3]
        assert seen_by_a.since <= trio.current_time()


async def test_connecting_again_changes_nothing(world: World) -> None:
    async with chain(world, "a", "b") as (a, b):
        assert await a.connect(b.addresses[0]) == b.peer
        assert len(a.peers()) == 1


async def test_changes_begin_with_who_is_there(world: World) -> None:
    async with chain(world, "a", "b") as (a, b), a.changes() as changes:
        assert await next_change(changes) == PeerChange(b.peer, joined=True)


@pytest.mark.parametrize(
    "address", ["", "junk", "/ip4/127.0.0.1/tcp/1", "/ip4/127.0.0.1/tcp/1/p2p/", "/ip4/127.0.0.1/tcp/1/p2p/x"]
)
async def test_an_address_that_leads_nowhere_is_unreachable(world: World, address: str) -> None:
    async with world.open("a") as a:
        with pytest.raises(Unreachable) as failure:
            await a.connect(address)
        assert str(failure.value).endswith(".")


async def test_a_node_that_is_gone_is_unreachable_and_reachable_when_it_is_back(world: World) -> None:
    async with world.open("a") as a:
        async with world.open("b") as b:
            address = b.addresses[0]
        with pytest.raises(Unreachable):
            await a.connect(address)
        async with world.open("b") as b:
            assert await a.connect(address) == b.peer


async def test_the_own_address_is_unreachable(world: World) -> None:
    async with world.open("a") as a:
        with pytest.raises(Unreachable):
            await a.connect(a.addresses[0])


async def test_another_peer_id_at_the_address_is_unreachable(world: World) -> None:
    async with world.open("a") as a, world.open("b") as b, world.open("c") as c:
        place = b.addresses[0].partition("/p2p/")[0]
        with pytest.raises(Unreachable):
            await a.connect(f"{place}/p2p/{c.peer}")
        assert a.peers() == ()


async def test_disconnecting_and_closing_are_seen_by_the_other_side(world: World) -> None:
    async with world.open("a") as a, a.changes() as changes:
        async with world.open("b") as b:
            await a.connect(b.addresses[0])
            assert (await next_change(changes)).joined
            await b.disconnect(a.peer)
            assert await next_change(changes) == PeerChange(b.peer, joined=False)
            assert a.peers() == ()
            await a.connect(b.addresses[0])
            assert (await next_change(changes)).joined
        assert await next_change(changes) == PeerChange(b.peer, joined=False)
        assert a.peers() == ()
        await a.disconnect("nobody")


async def test_whether_a_peer_answers_is_found_without_a_connection(world: World) -> None:
    async with world.open("a") as a, world.open("b") as b, a.changes() as at_a, b.changes() as at_b:
        assert await a.answers(b.addresses[0])
        place = b.addresses[0].partition("/p2p/")[0]
        assert not await a.answers(f"{place}/p2p/{a.peer}x")
        assert not await a.answers(f"{a.addresses[0].partition('/p2p/')[0]}/p2p/{b.peer}")
        assert not await a.answers("junk")
        for network, changes in ((a, at_a), (b, at_b)):
            while network.peers():  # a handshake of QUIC is a connection for a moment
                await next_change(changes)
