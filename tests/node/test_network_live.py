"""Real sockets, real processes that die: redial after a return, and life after the bootstrap."""

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio

from node import reach
from node.libp2p_network import Libp2pNetwork, open_libp2p_network
from node.network import Gossip, PeerChange

TOPIC = "/peerboard/test/1"
PATIENCE = 60
SERVER = """
import sys, trio
from node.libp2p_network import open_libp2p_network
async def main():
    async with open_libp2p_network(bytes.fromhex(sys.argv[1]), [sys.argv[2]]) as network:
        async with network.subscribe(sys.argv[3], lambda data: True):
            print(network.addresses[0], flush=True)
            await network.keep_connected(sys.argv[4:])
trio.run(main)
"""


@asynccontextmanager
async def process(name: str, listen: str, *known: str) -> AsyncIterator[tuple[trio.Process, str]]:
    """A node in a process of its own, and its address; killed on leaving."""
    seed = hashlib.sha256(name.encode()).hexdigest()
    command = [sys.executable, "-I", "-c", SERVER, seed, listen, TOPIC, *known]
    started = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
    try:
        assert started.stdout is not None
        line = b""
        while not line.endswith(b"\n"):
            more = await started.stdout.receive_some()
            assert more, "the node ended at the start"
            line += more
        yield started, line.decode().strip()
    finally:
        with trio.CancelScope(shield=True):
            if started.returncode is None:
                os.kill(started.pid, signal.SIGKILL)
            await started.wait()


@asynccontextmanager
async def living(name: str, *known: str) -> AsyncIterator[tuple[Libp2pNetwork, trio.MemoryReceiveChannel[Gossip]]]:
    seed = hashlib.sha256(name.encode()).digest()
    async with (
        open_libp2p_network(seed, ["/ip4/127.0.0.1/tcp/0"]) as network,
        network.subscribe(TOPIC, lambda data: True) as heard,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(network.keep_connected, known)
        yield network, heard
        nursery.cancel_scope.cancel()


async def test_a_killed_peer_is_back_in_the_mesh_after_its_return() -> None:
    with trio.fail_after(2 * PATIENCE):
        async with process("server", "/ip4/127.0.0.1/tcp/0") as (server, address):
            place, _, peer = address.partition("/p2p/")
            async with living("client", address) as (client, _), client.changes() as changes:
                assert await changes.receive() == PeerChange(peer, joined=True)
                server.kill()
                assert await changes.receive() == PeerChange(peer, joined=False)
                async with process("server", place) as (_, again):
                    assert again == address
                    assert await changes.receive() == PeerChange(peer, joined=True)
                    await client.await_audience(TOPIC)


@pytest.mark.parametrize("listen", ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"])
async def test_a_peer_that_falls_silent_is_dropped(listen: str) -> None:
    """Its sockets stay open, as when a cable is pulled: only its silence shows. The limit here is a busy machine's."""
    with trio.fail_after(2 * PATIENCE):
        async with (
            process("server", listen) as (server, address),
            open_libp2p_network(hashlib.sha256(b"client").digest(), [listen]) as client,
            client.changes() as changes,
        ):
            await client.connect(address)
            assert (await changes.receive()).joined
            server.send_signal(signal.SIGSTOP)
            with trio.fail_after(PATIENCE / 2):
                assert not (await changes.receive()).joined


async def test_nodes_that_know_only_the_bootstrap_outlive_it() -> None:
    with trio.fail_after(2 * PATIENCE):
        async with process("bootstrap", "/ip4/127.0.0.1/tcp/0") as (bootstrap, address), AsyncExitStack() as stack:
            living_nodes = [await stack.enter_async_context(living(f"node {number}", address)) for number in range(3)]
            nodes = [node for node, _ in living_nodes]
            for node in nodes:
                async with node.changes() as changes:
                    while len(node.peers()) < 3:
                        await changes.receive()
            bootstrap.kill()
            for node in nodes:
                async with node.changes() as changes:
                    while len(node.peers()) > 2:
                        await changes.receive()
            assert {peer.peer for peer in nodes[0].peers()} == {nodes[1].peer, nodes[2].peer}
            await nodes[0].await_audience(TOPIC, 2)
            await nodes[0].publish(TOPIC, b"we go on")
            for _, heard in living_nodes[1:]:
                assert (await heard.receive()).data == b"we go on"


async def repeat(network: Libp2pNetwork, number: int) -> None:
    """Publish for ever: connections come and go, and a message that meets none of them is lost."""
    for turn in range(1 << 16):
        await network.publish(TOPIC, bytes([number, *turn.to_bytes(2, "big")]))
        await trio.sleep(0.5)


async def test_peers_over_the_cap_are_let_in_in_turn_and_nobody_is_isolated(monkeypatch: pytest.MonkeyPatch) -> None:
    """All know nobody but a node that has places for three; everybody hears everybody all the same."""
    monkeypatch.setattr(reach, "STAY_SECONDS", 0.5)
    monkeypatch.setattr(reach, "ROOM_PAUSE", 0.1)
    async with AsyncExitStack() as stack:
        stack.enter_context(trio.fail_after(2 * PATIENCE))
        crowded = await stack.enter_async_context(
            open_libp2p_network(hashlib.sha256(b"crowded").digest(), ["/ip4/127.0.0.1/tcp/0"], inbound=3, outbound=3)
        )
        nursery = await stack.enter_async_context(trio.open_nursery())
        nursery.start_soon(crowded.keep_connected, ())
        nodes = [await stack.enter_async_context(living(f"n{number}", crowded.addresses[0])) for number in range(7)]
        for network, _ in nodes:
            await network.await_audience(TOPIC, 3)
        for number, (network, _) in enumerate(nodes):
            nursery.start_soon(repeat, network, number)
        for number, (_, heard) in enumerate(nodes):
            missing = set(range(len(nodes))) - {number}
            while missing:
                missing.discard((await heard.receive()).data[0])
        nursery.cancel_scope.cancel()
