"""Listening, addresses and limits of the libp2p host on this machine."""

import hashlib
import socket
from contextlib import AsyncExitStack, suppress

import pytest

from node import hardening_streams
from node.libp2p_host import CannotListen
from node.libp2p_network import Libp2pNetwork, open_libp2p_network
from node.network import Unreachable
from tests.node.loopback import LOOPBACK, opened

# isort: split
from libp2p.network.swarm import Swarm


def port_of(network: Libp2pNetwork) -> str:
    return network.addresses[0].split("/")[4]


async def test_a_taken_port_is_said_and_nothing_shared() -> None:
    async with opened("a", "/ip4/0.0.0.0/tcp/0") as a:
        for place in (f"/ip4/127.0.0.1/tcp/{port_of(a)}", f"/ip4/0.0.0.0/tcp/{port_of(a)}"):
            with pytest.raises(CannotListen, match="another program uses that port"):
                async with opened("b", place):
                    pass


async def test_an_address_of_another_machine_is_said() -> None:
    with pytest.raises(CannotListen, match="Configure an address of this machine"):
        async with opened("a", "/ip4/203.0.113.7/tcp/4001"):
            pass


async def test_junk_to_listen_on_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="not a multiaddr such as"):
        async with opened("a", "localhost:4001"):
            pass


async def test_all_interfaces_are_one_address_each() -> None:
    async with opened("a", "/ip4/0.0.0.0/tcp/0") as a:
        assert f"/ip4/127.0.0.1/tcp/{port_of(a)}/p2p/{a.peer}" in a.addresses
        assert not any("0.0.0.0" in address for address in a.addresses)


async def test_what_is_announced_replaces_what_is_listened_on() -> None:
    async with opened("a", LOOPBACK, announce=("/ip4/198.51.100.1/tcp/4001",)) as a:
        assert a.addresses == (f"/ip4/198.51.100.1/tcp/4001/p2p/{a.peer}",)


async def test_a_node_that_does_not_listen_can_dial() -> None:
    async with opened("a") as a, opened("b", LOOPBACK) as b:
        assert a.addresses == ()
        assert await a.connect(b.addresses[0]) == b.peer


@pytest.mark.parametrize("kind", ["dns", "dns4"])
async def test_host_names_are_looked_up(kind: str) -> None:
    async with opened("a", LOOPBACK) as a, opened("b") as b:
        assert await b.connect(f"/{kind}/localhost/tcp/{port_of(a)}/p2p/{a.peer}") == a.peer


async def test_a_host_name_that_is_not_known_is_unreachable() -> None:
    async with opened("a") as a, opened("b") as b:
        with pytest.raises(Unreachable, match="host name"):
            await a.connect(f"/dns4/nowhere.invalid/tcp/1/p2p/{b.peer}")


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")
async def test_both_ends_know_each_others_ipv6_address() -> None:
    """hardening_streams._remote_address."""
    async with opened("a", "/ip6/::1/tcp/0") as a, opened("b") as b:
        async with a.changes() as changes:
            await b.connect(a.addresses[0])
            await changes.receive()
        assert f"{b.peers()[0].address}/p2p/{a.peer}" == a.addresses[0]
        assert a.peers()[0].address.startswith("/ip6/::1/tcp/")


async def test_inbound_connections_are_capped_and_outbound_places_stay_free() -> None:
    async with AsyncExitStack() as stack:
        hub = await stack.enter_async_context(opened("hub", LOOPBACK, inbound=2))
        others = [await stack.enter_async_context(opened(f"n{number}", LOOPBACK)) for number in range(4)]
        async with hub.changes() as changes:
            for other in others[:2]:
                await other.connect(hub.addresses[0])
                await changes.receive()
        for other in others[2:]:
            with suppress(Unreachable):  # it may see the refusal at once, or only as the end of the connection
                await other.connect(hub.addresses[0])
        assert {peer.peer for peer in hub.peers()} == {other.peer for other in others[:2]}
        assert await hub.connect(others[3].addresses[0]) == others[3].peer
        assert len(hub.peers()) == 3


@pytest.mark.parametrize(
    ("place", "ours"), [(LOOPBACK, True), (LOOPBACK, False), ("/ip4/127.0.0.1/udp/0/quic-v1", True)]
)
async def test_a_connection_that_ended_leaves_its_place(
    monkeypatch: pytest.MonkeyPatch, place: str, ours: bool
) -> None:
    """_take_inbound."""
    if not ours:
        monkeypatch.setattr(Swarm, "_do_handle_inbound_connection", hardening_streams._stock_take_inbound)
    seed = hashlib.sha256(b"hub").digest()
    async with (
        open_libp2p_network(seed, [place], inbound=1, outbound=1) as hub,
        opened("other", place) as other,
        hub.changes() as changes,
    ):
        let_in = 0
        for _ in range(4):
            with suppress(Unreachable):
                await other.connect(hub.addresses[0])
                let_in += 1
                assert (await changes.receive()).joined
                await other.disconnect(hub.peer)
                assert not (await changes.receive()).joined
        assert let_in == (4 if ours else 2)


async def test_too_many_connections_of_ones_own_are_said() -> None:
    seed = hashlib.sha256(b"a").digest()
    async with (
        opened("b", LOOPBACK) as b,
        opened("c", LOOPBACK) as c,
        open_libp2p_network(seed, [LOOPBACK], outbound=1) as a,
    ):
        await a.connect(b.addresses[0])
        with pytest.raises(Unreachable, match="as many as allowed are open"):
            await a.connect(c.addresses[0])
