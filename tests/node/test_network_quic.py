"""QUIC beside TCP: what a stranger may send to its port, and ends that are noticed. The rest is the contract's."""

import random
from collections import Counter
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from node import hardening_quic
from node.libp2p_network import Libp2pNetwork
from node.network import PeerChange
from tests.node.loopback import opened

# isort: split
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from libp2p.io.exceptions import IOException
from libp2p.peer.id import ID

TCP, QUIC = "/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"
PATIENCE = 60


def port(network: Libp2pNetwork) -> int:
    return next(int(address.split("/")[4]) for address in network.addresses if "/udp/" in address)


async def test_tcp_is_named_before_quic_and_both_are_dialled() -> None:
    async with opened("a", QUIC, TCP) as a, opened("b", TCP, QUIC) as b, opened("c", TCP) as c:
        assert ["/tcp/" in address for address in a.addresses] == [True, False]
        await b.connect(a.addresses[1])
        await c.connect(a.addresses[0])
        assert "/quic-v1" in b.peers()[0].address
        assert {"/quic-v1" in peer.address for peer in a.peers()} == {True, False}


async def test_a_peer_that_hangs_up_is_gone_at_once() -> None:
    async with opened("a", QUIC) as a, opened("b", QUIC) as b, a.changes() as at_a:
        await b.connect(a.addresses[0])
        assert await at_a.receive() == PeerChange(b.peer, joined=True)
        await b.disconnect(a.peer)
        with trio.fail_after(5):
            assert await at_a.receive() == PeerChange(b.peer, joined=False)


async def test_a_silent_stream_does_not_break_off() -> None:
    async with opened("a", QUIC) as a, opened("b", QUIC) as b:
        await b.connect(a.addresses[0])
        stream = await b.host.new_stream(ID.from_string(a.peer), ["/ipfs/ping/1.0.0"])
        assert stream.muxed_stream.READ_TIMEOUT > 86_400
        await stream.reset()


@pytest.mark.parametrize("ours", [True, False])
async def test_bytes_that_come_with_the_end_are_read(ours: bool) -> None:
    """_read_to_the_end."""
    read = hardening_quic._read_to_the_end if ours else hardening_quic._stock_read
    received: list[bytes] = []

    async def collect(stream: Any) -> None:
        with suppress(IOException):
            received.append(await read(stream, 100))

    async with opened("a", QUIC) as a, opened("b", QUIC) as b:
        await b.connect(a.addresses[0])
        stream = (await b.host.new_stream(ID.from_string(a.peer), ["/ipfs/ping/1.0.0"])).muxed_stream
        async with trio.open_nursery() as nursery:  # noqa: SIM117  the lock goes first
            async with stream._state_lock:  # the reader has found no bytes, and asks whether the stream has ended
                nursery.start_soon(collect, stream)
                await wait_all_tasks_blocked()
                nursery.start_soon(stream.handle_data_received, b"rest", True)
                while not stream._read_closed:
                    await trio.lowlevel.checkpoint()
        assert received == ([b"rest"] if ours else [])


@pytest.mark.parametrize("ours", [True, False])
async def test_no_bytes_are_left_out_amid_a_stream(ours: bool) -> None:
    """_take_or_reset."""
    take = hardening_quic._take_or_reset if ours else hardening_quic._stock_take
    async with opened("a", QUIC) as a, opened("b", QUIC) as b:
        await b.connect(a.addresses[0])
        stream = (await b.host.new_stream(ID.from_string(a.peer), ["/ipfs/ping/1.0.0"])).muxed_stream
        stream.MAX_RECEIVE_BUFFER_SIZE = 10
        await take(stream, b"one", False)
        await take(stream, bytes(20), False)
        await take(stream, b"three", False)
        if ours:
            assert stream.is_reset()
        else:
            assert await stream.read(100) == b"onethree"


class Numbered:
    """Stands for an aioquic connection with two datagrams to send at a time, and for the socket."""

    def __init__(self) -> None:
        self.made = 0
        self.sent: list[int] = []

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, None]]:
        self.made += 2
        return [(bytes([self.made - 1]), None), (bytes([self.made]), None)]

    async def sendto(self, datagram: bytes, address: None) -> None:
        await trio.lowlevel.checkpoint()
        self.sent.append(datagram[0])


@pytest.mark.parametrize("ours", [True, False])
async def test_datagrams_leave_in_order_and_none_is_lost(ours: bool) -> None:
    """_transmit_in_order."""
    transmit = hardening_quic._transmit_in_order if ours else hardening_quic._stock_transmit
    numbered = Numbered()
    connection = SimpleNamespace(
        _socket=numbered, _quic=numbered, _stats=Counter(), _refresh_send_backpressure=lambda: None
    )
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(transmit, connection)
    assert (numbered.sent == sorted(numbered.sent)) is ours
    with trio.move_on_after(0):
        await transmit(connection)
    assert (len(numbered.sent) == numbered.made) is ours


def hello() -> bytes:
    """The first datagram of a client that never says more."""
    client = QuicConnection(configuration=QuicConfiguration(is_client=True, alpn_protocols=["libp2p"]))
    client.connect(("127.0.0.1", 1), now=0.0)
    return bytes(client.datagrams_to_send(now=0.0)[0][0])


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_comes_to_the_port_the_host_lives(seed: int) -> None:
    chance = random.Random(seed)
    async with opened("a", QUIC) as a, opened("b", QUIC) as b, a.changes() as at_a:
        with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as stranger:
            await stranger.connect(("127.0.0.1", port(a)))
            for _ in range(100):
                junk = bytearray(hello() if chance.random() < 0.3 else chance.randbytes(chance.randrange(1, 1400)))
                for _ in range(chance.randrange(4)):
                    junk[chance.randrange(len(junk))] = chance.randrange(256)
                await stranger.send(junk[: chance.randrange(1, len(junk) + 1)] if chance.random() < 0.3 else junk)
        assert await b.connect(a.addresses[0]) == a.peer
        assert await at_a.receive() == PeerChange(b.peer, joined=True)
