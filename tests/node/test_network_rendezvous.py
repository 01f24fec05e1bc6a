"""Members found under a network's key: in memory under a mock clock, what nodes keep of others, and over libp2p."""

import hashlib
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from node.addresses import Address, parse
from node.hardening import GuardedHost
from node.libp2p_network import Libp2pNetwork, open_libp2p_network
from node.memory_network import MemoryHub, MemoryNetwork
from node.network import RequestFailed
from node.rendezvous import (
    ANSWER_PAUSE,
    DIALLED,
    RECORD_SECONDS,
    RECORDS,
    RECORDS_PER_HOST,
    Answer,
    Question,
    Records,
    Rendezvous,
)
from tests.node.living_networks import BOOTSTRAP

# isort: split
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.kad_dht.kad_dht import DHTMode, KadDHT
from libp2p.kad_dht.pb.kademlia_pb2 import Message
from libp2p.peer.id import ID
from libp2p.tools.anyio_service import background_trio_service
from libp2p.utils import encode_varint_prefixed
from multiaddr import Multiaddr

LOOPBACK = "/ip4/127.0.0.1/tcp/0"
NETWORK, OTHER = b"n" * 32, b"o" * 32
PATIENCE = 60


@asynccontextmanager
async def living(
    memory_hub: MemoryHub, name: str, *known: str, network_id: bytes = NETWORK
) -> AsyncIterator[tuple[MemoryNetwork, Rendezvous]]:
    """A network that keeps itself connected and takes part in the rendezvous."""
    async with memory_hub.open(name) as network, trio.open_nursery() as nursery:
        rendezvous = Rendezvous(network, network.reach, network_id, bootstrap=["bootstrap"])
        nursery.start_soon(rendezvous.run)
        nursery.start_soon(network.keep_connected, known)
        yield network, rendezvous
        nursery.cancel_scope.cancel()


async def test_one_member_is_enough_to_find_others_that_it_lost(
    memory_hub: MemoryHub, autojump_clock: MockClock
) -> None:
    async with living(memory_hub, "member") as (member, at_member):
        place = member.addresses[0]
        async with living(memory_hub, "a", place) as (a, _), living(memory_hub, "b", place) as (b, _):
            await trio.sleep(120)
            addresses = {*a.addresses, *b.addresses}
        assert {address.text for address in at_member.records.kept()} == addresses
        await trio.sleep(3600)  # they are away for so long that the member dials them no more
        async with living(memory_hub, "a") as (a, _), living(memory_hub, "b") as (b, _):
            assert member.reach.known() == ()
            async with living(memory_hub, "newcomer", place) as (newcomer, _):
                await trio.sleep(5)
                assert [peer.peer for peer in newcomer.peers()] == ["member"]  # all that peer exchange gives
                await trio.sleep(120)
                assert {peer.peer for peer in newcomer.peers()} == {"member", "a", "b"}


async def test_a_walk_goes_on_where_the_first_member_knows_too_little(
    memory_hub: MemoryHub, autojump_clock: MockClock
) -> None:
    async with AsyncExitStack() as stack:
        networks = [await stack.enter_async_context(memory_hub.open(name)) for name in ("m", "n", "o", "p")]
        walkers = [Rendezvous(network, network.reach, NETWORK) for network in networks]
        m, n, o, p = networks
        await n.connect(o.addresses[0])
        await o.connect(n.addresses[0])
        await p.connect(o.addresses[0])
        await walkers[3].announce()  # o keeps where p is
        await p.disconnect("o")
        await m.connect(n.addresses[0])
        assert set(await walkers[0].look_up()) == {o.addresses[0], p.addresses[0]}
        assert {peer.peer for peer in m.peers()} == {"n", "o"}


async def test_nothing_is_looked_up_while_a_bootstrap_and_others_are_there(
    memory_hub: MemoryHub, autojump_clock: MockClock
) -> None:
    async with living(memory_hub, "bootstrap"), living(memory_hub, "a", BOOTSTRAP) as (a, at_a):
        await trio.sleep(1)
        assert at_a.needed()  # nobody but the bootstrap
        async with living(memory_hub, "b", BOOTSTRAP):
            await trio.sleep(60)
            assert not at_a.needed()
            before = a.traffic.requested
            await trio.sleep(1500)
            assert a.traffic.requested - before < 1500 / 15 + 5  # peer exchange's, and nothing beside
        at_a._desired = 1
        assert not at_a.needed()


async def test_networks_do_not_meet(memory_hub: MemoryHub, autojump_clock: MockClock) -> None:
    async with living(memory_hub, "member", network_id=OTHER) as (member, at_member):
        async with living(memory_hub, "a", member.addresses[0]):
            await trio.sleep(300)
        assert at_member.records.kept() == []


async def ask(asker: MemoryNetwork, rendezvous: Rendezvous, *named: str) -> Answer:
    await trio.sleep(ANSWER_PAUSE)
    answer = await asker.request("member", rendezvous.protocol, msgspec.json.encode(Question(named)))
    return msgspec.json.decode(answer, type=Answer)


async def test_only_what_is_the_askers_own_is_kept(memory_hub: MemoryHub, autojump_clock: MockClock) -> None:
    async with memory_hub.open("member") as member, memory_hub.open("a") as a, memory_hub.open("b") as b:
        rendezvous = Rendezvous(member, member.reach, NETWORK)
        for network in (a, b):
            await network.connect(member.addresses[0])
        relayed = f"{a.place}/p2p/b/p2p-circuit/p2p/a"
        assert await ask(a, rendezvous, "/ip4/8.8.8.8/tcp/1/p2p/a", b.addresses[0], "junk", relayed) == Answer((), ())
        assert rendezvous.records.kept() == []
        await ask(a, rendezvous, "/ip4/8.8.8.8/tcp/1/p2p/a", *a.addresses)
        assert await ask(b, rendezvous) == Answer(a.addresses, ())
        assert await ask(a, rendezvous) == Answer((), ())
        await trio.sleep(ANSWER_PAUSE)
        question = msgspec.json.encode(Question(()))
        answers = [await b.request("member", rendezvous.protocol, question) for _ in range(2)]
        assert [len(msgspec.json.decode(answer, type=Answer).members) for answer in answers] == [1, 0]
        for junk in (b"", b"{}", b'{"addresses": 1}', b'{"addresses": ["' + b"x" * 300 + b'"]}', b"\xff"):
            with pytest.raises(RequestFailed):
                await a.request("member", rendezvous.protocol, junk)
        await trio.sleep(RECORD_SECONDS)
        assert await ask(b, rendezvous) == Answer((), ())


async def test_who_asked_a_moment_ago_is_kept_when_it_announces(
    memory_hub: MemoryHub, autojump_clock: MockClock
) -> None:
    async with memory_hub.open("member") as member, memory_hub.open("a") as a:
        rendezvous = Rendezvous(member, member.reach, NETWORK)
        await a.connect(member.addresses[0])
        for named in ((), a.addresses):
            await a.request("member", rendezvous.protocol, msgspec.json.encode(Question(named)))
        assert [address.text for address in rendezvous.records.kept()] == list(a.addresses)


@pytest.mark.parametrize(
    "told",
    [
        b"",
        b"{}",
        b'{"members": 1, "nearer": []}',
        msgspec.json.encode({"members": ["junk"] * 17, "nearer": []}),
        msgspec.json.encode(
            {"members": ["junk", "/ip4/127.0.0.1/tcp/1/p2p/x", "/ip4/10.0.0.9/tcp/1/p2p/me"], "nearer": []}
        ),
    ],
)
async def test_what_cannot_be_used_is_not_suggested(
    memory_hub: MemoryHub, autojump_clock: MockClock, told: bytes
) -> None:
    async def answer(peer: str, body: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        return told

    async with memory_hub.open("me") as me, memory_hub.open("hostile") as hostile:
        rendezvous = Rendezvous(me, me.reach, NETWORK)
        hostile.serve(rendezvous.protocol, answer)
        await me.connect(hostile.addresses[0])
        assert await rendezvous.look_up() == ()


async def test_a_liar_costs_few_dials(memory_hub: MemoryHub, autojump_clock: MockClock) -> None:
    told = Answer((), tuple(f"/ip4/10.0.9.{n}/tcp/1/p2p/nobody{n}" for n in range(4)))
    dials: list[str] = []

    async def answer(peer: str, body: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        return msgspec.json.encode(told)

    async with memory_hub.open("me") as me, memory_hub.open("hostile") as hostile:
        rendezvous = Rendezvous(me, me.reach, NETWORK)
        hostile.serve(rendezvous.protocol, answer)
        await me.connect(hostile.addresses[0])
        connect = me.connect

        async def counted(address: str) -> str:
            dials.append(address)
            return await connect(address)

        me.connect = counted  # type: ignore[method-assign]
        assert len(await rendezvous.look_up()) == 4
        assert len(dials) <= DIALLED


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 200)), max_size=300), st.randoms(use_true_random=False))
def test_records_are_bounded_whatever_comes(named: list[tuple[int, int]], chance: random.Random) -> None:
    async def main() -> None:
        records = Records(chance)
        for host, peer in named:
            address = Address(f"8.8.8.{host}" if host else f"10.0.0.{peer}", 4001, f"p{peer}")
            records.keep(address)
            kept = records.kept()
            assert len(kept) <= RECORDS
            assert len({each.peer for each in kept}) == len(kept)
            assert max(sum(each.host == f"8.8.8.{n}" for each in kept) for n in range(1, 6)) <= RECORDS_PER_HOST

    trio.run(main)


async def test_over_libp2p_a_newcomer_finds_members_whom_the_one_it_knows_has_lost() -> None:
    async with AsyncExitStack() as stack:
        stack.enter_context(trio.fail_after(PATIENCE))

        async def opened(name: str) -> tuple[Libp2pNetwork, Rendezvous]:
            seed = hashlib.sha256(name.encode()).digest()
            network = await stack.enter_async_context(open_libp2p_network(seed, ["/ip4/127.0.0.1/tcp/0"]))
            return network, Rendezvous(network, network.reach, NETWORK)

        member, _ = await opened("member")
        others = [await opened(name) for name in ("a", "b")]
        for network, rendezvous in others:
            await network.connect(member.addresses[0])
            await rendezvous.announce()
            await network.disconnect(member.peer)
        newcomer, rendezvous = await opened("newcomer")
        await newcomer.connect(member.addresses[0])
        assert member.reach.known() == ()
        found = await rendezvous.look_up()
        assert set(found) == {network.addresses[0] for network, _ in others}
        async with trio.open_nursery() as nursery, newcomer.changes() as changes:
            nursery.start_soon(newcomer.keep_connected, ())
            while len(newcomer.peers()) < 3:
                await changes.receive()
            nursery.cancel_scope.cancel()
        assert all(parse(address) for address in found)


@asynccontextmanager
async def stock_table(host: GuardedHost) -> AsyncIterator[KadDHT]:
    """py-libp2p's own, as an application would use it for a network of its own."""
    table = KadDHT(host, DHTMode.SERVER, protocol_prefix="/peerboard", enable_values=False)
    async with background_trio_service(table):
        yield table


async def test_the_library_s_table_speaks_the_public_protocol_whatever_it_is_told() -> None:
    """Why `KadDHT` is not used: its prefix is kept and read by nobody."""
    async with open_libp2p_network(bytes(32), [LOOPBACK]) as network, stock_table(network.host):
        assert "/ipfs/kad/1.0.0" in network.host.get_mux().get_protocols()
        assert "/peerboard/kad/1.0.0" not in network.host.get_mux().get_protocols()


async def test_the_library_s_table_keeps_what_strangers_store_though_that_is_off() -> None:
    """Why `KadDHT` is not used: up to 50,000 values of a mebibyte."""
    with trio.fail_after(PATIENCE):
        async with (
            open_libp2p_network(bytes(32), [LOOPBACK]) as network,
            open_libp2p_network(b"s" * 32, [LOOPBACK]) as stranger,
            stock_table(network.host) as table,
        ):
            await stranger.connect(network.addresses[0])
            stream = await stranger.host.new_stream(ID.from_string(network.peer), ["/ipfs/kad/1.0.0"])
            message = Message(type=Message.MessageType.PUT_VALUE, key=b"anything")
            message.record.key, message.record.value = b"anything", bytes(100_000)
            await stream.write(encode_varint_prefixed(message.SerializeToString()))
            await stream.read(1)
            assert table.get_value_store_size() == 1


async def test_the_library_s_table_dials_whatever_a_peer_names() -> None:
    """Why `KadDHT` is not used: one answer, and every node that asks dials a stranger's machine."""

    async def name_a_stranger(stream: Any) -> None:
        await stream.read(1)
        answer = Message(type=Message.MessageType.FIND_NODE)
        place = Multiaddr(f"/ip4/127.0.0.1/tcp/{victim.socket.getsockname()[1]}")
        answer.closerPeers.add(id=ID.from_pubkey(create_new_key_pair(b"v" * 32).public_key).to_bytes()).addrs.append(
            place.to_bytes()
        )
        await stream.write(encode_varint_prefixed(answer.SerializeToString()))

    (victim,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    with trio.fail_after(PATIENCE):
        async with (
            victim,
            open_libp2p_network(bytes(32), [LOOPBACK]) as network,
            open_libp2p_network(b"s" * 32, [LOOPBACK]) as hostile,
        ):
            hostile.host.set_stream_handler("/ipfs/kad/1.0.0", name_a_stranger)
            await network.connect(hostile.addresses[0])
            async with stock_table(network.host):  # its first turn asks all peers
                await (await victim.accept()).aclose()
