"""Each deviation from py-libp2p 0.8.1 beside what it replaces: the stock behaviour is the reason, asserted here too.

So a release that mends a defect fails the assertion on the stock behaviour, and the deviation can go. Deviations whose
absence shows only on a live host under attack are in test_network_attacks.py, those that the contract depends on
(content ids, closed listeners, dials after a failure, one's own messages) in test_network_contract.py.
"""

import importlib.util
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
import trio

from node import hardening, hardening_streams
from node.network import Unreachable
from tests.node.loopback import LOOPBACK, opened

# isort: split
from google.protobuf.message import DecodeError
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.host.basic_host import BasicHost
from libp2p.network.auto_connector import AutoConnector
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V12, GossipSub
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub
from libp2p.security.insecure.transport import PLAINTEXT_PROTOCOL_ID
from libp2p.tools.anyio_service import Service, background_trio_service
from libp2p.tools.anyio_service.trio_manager import TrioManager
from libp2p.utils import encode_varint_prefixed

TOPIC = "/peerboard/test/1"


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=60, check=False)


def test_another_release_is_refused() -> None:
    hardening.require_release(hardening.LIBP2P)
    with pytest.raises(ImportError, match=r"0\.9\.0 is installed.*0\.8\.1"):
        hardening.require_release("0.9.0")


def really_installed(name: str) -> bool:
    spec = importlib.util.find_spec(name)
    return spec is not None and spec.loader is not cast(object, hardening.FastecdsaStandIn)


@pytest.mark.skipif(really_installed("fastecdsa"), reason="fastecdsa itself is installed here")
def test_libp2p_imports_without_fastecdsa() -> None:
    stock = run("import libp2p")
    assert "fastecdsa" in stock.stderr
    ours = run(
        "import node.hardening, libp2p.crypto.ecc as ecc\n"
        "try: ecc.create_new_key_pair('P-256')\n"
        "except NotImplementedError as error: print(error)"
    )
    assert "not supported" in ours.stdout, ours.stderr


def test_a_connection_prints_nothing_and_leaves_the_root_logger_alone() -> None:
    code = """
import logging, trio
from node.libp2p_network import open_libp2p_network
async def main():
    async with open_libp2p_network(bytes(32), ["/ip4/127.0.0.1/tcp/0"]) as a:
        async with open_libp2p_network(bytes([1]) * 32, ["/ip4/127.0.0.1/tcp/0"]) as b:
            await a.connect(b.addresses[0])
trio.run(main)
assert not logging.getLogger().handlers
assert not logging.getLogger("libp2p.pubsub").isEnabledFor(logging.ERROR)
"""
    ours = run(code)
    assert (ours.returncode, ours.stdout, ours.stderr) == (0, "", "")
    undone = "import libp2p.network.connection.swarm_connection as stock; stock.logging = logging\ntrio.run"
    assert run(code.replace("trio.run", undone)).returncode == 1


async def test_noise_is_all_that_is_offered() -> None:
    """noise_only."""
    stock = new_host(key_pair=create_new_key_pair(bytes(32))).get_network()
    assert PLAINTEXT_PROTOCOL_ID in stock.upgrader.security_multistream.transports
    async with opened("a", LOOPBACK) as a:
        assert list(a._swarm.upgrader.security_multistream.transports) == ["/noise"]


class Fragile(Service):  # type: ignore[misc]
    """A service one of whose tasks fails."""

    def __init__(self, work: Callable[[], Awaitable[None]]) -> None:
        self._work = work
        self.lived = False

    async def run(self) -> None:
        self.manager.run_task(self._work)
        await trio.testing.wait_all_tasks_blocked()
        self.lived = True
        self.manager.cancel()


async def fail() -> None:
    raise RuntimeError("one peer's trouble")


async def test_a_failing_task_ends_only_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """_run_contained_task."""
    ours = Fragile(fail)
    async with background_trio_service(ours) as manager:
        await manager.wait_finished()
    assert ours.lived
    monkeypatch.setattr(TrioManager, "run_task", hardening_streams._run_task)
    stock = Fragile(fail)
    with pytest.raises(ExceptionGroup):
        async with background_trio_service(stock) as manager:
            await manager.wait_finished()
    assert not stock.lived


async def test_a_task_that_comes_too_late_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """_schedule_unless_closed."""
    service = Fragile(trio.lowlevel.checkpoint)
    async with background_trio_service(service) as manager:
        await manager.wait_finished()
    manager.run_task(trio.lowlevel.checkpoint)
    monkeypatch.setattr(TrioManager, "_schedule_task", hardening_streams._schedule_task)
    with pytest.raises(Exception, match=r"stop|closed|running"):
        manager.run_task(trio.lowlevel.checkpoint)


async def test_nobody_is_dialled_unasked() -> None:
    """NoAutoConnector."""
    async with opened("a", LOOPBACK) as a, opened("b", LOOPBACK) as b:
        a._swarm.peerstore.add_addrs(ID.from_string(b.peer), b.host.get_transport_addrs(), 600)
        await a._swarm.auto_connector.maybe_connect()
        assert a.peers() == ()
        stock = AutoConnector(swarm=a._swarm)
        await stock.start()
        async with a.changes() as changes:
            await stock.maybe_connect()
            assert (await changes.receive()).peer == b.peer


async def test_a_failed_dial_does_not_bar_the_next() -> None:
    """forget_failed_dial."""
    async with opened("a", LOOPBACK) as a:
        async with opened("b", LOOPBACK) as b:
            address = b.addresses[0]
            peer = ID.from_string(b.peer)
        with pytest.raises(Unreachable):
            await a.connect(address)
        assert a._swarm._negative_peer_cache.is_blocked(str(peer))
        hardening.forget_failed_dial(a._swarm, peer)
        assert not a._swarm._negative_peer_cache.is_blocked(str(peer))


@pytest.fixture
def stock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the guards that keep one peer's trouble from the rest."""
    monkeypatch.setattr(hardening.GuardedHost, "_swarm_stream_handler", BasicHost._swarm_stream_handler)
    monkeypatch.setattr(TrioManager, "run_task", hardening_streams._run_task)


async def test_without_the_guard_a_failing_handler_ends_the_host(stock: None) -> None:
    """GuardedHost._swarm_stream_handler; with it: test_a_failing_stream_handler_ends_its_stream_only."""

    async def handler(stream: Any) -> None:
        raise ZeroDivisionError

    async def scene() -> None:
        async with opened("a", LOOPBACK) as a, opened("b", LOOPBACK) as b:
            b.host.set_stream_handler("/fail/1", handler)
            await a.connect(b.addresses[0])
            await a.host.new_stream(ID.from_string(b.peer), ["/fail/1"])
            await trio.sleep_forever()

    with pytest.raises(ZeroDivisionError):
        await scene()


async def test_without_the_guard_a_random_frame_ends_the_host(stock: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """GuardedPubsub.continuously_read_stream; with it: test_random_frames."""
    monkeypatch.setattr(hardening.GuardedPubsub, "continuously_read_stream", Pubsub.continuously_read_stream)

    async def scene() -> None:
        async with opened("a", LOOPBACK) as a, opened("b", LOOPBACK) as b:
            await a.connect(b.addresses[0])
            stream = await a.host.new_stream(ID.from_string(b.peer), [PROTOCOL_ID_V12])
            await stream.write(encode_varint_prefixed(b"\xff" * 200))
            await trio.sleep_forever()

    with pytest.raises(DecodeError):
        await scene()


@pytest.mark.parametrize("attack", ["junk key", "validator"])
async def test_without_the_guard_a_message_ends_the_host(stock: None, attack: str) -> None:
    """GuardedPubsub.push_msg; with it: test_a_junk_key, test_a_validator_that_raises_and_topics_none_or_two."""
    hashed = b"\x12\x20" + bytes(32)
    junk = rpc_pb2.Message(data=b"x", topicIDs=[TOPIC], from_id=hashed, seqno=b"1", signature=b"s", key=b"\xffjunk")

    def judge(sender: ID, message: Any) -> bool:
        raise ZeroDivisionError

    async with opened("a", LOOPBACK) as a:
        pubsub = Pubsub(a.host, GossipSub([PROTOCOL_ID_V12], 8, 6, 12), strict_signing=attack == "junk key")
        pubsub.set_topic_validator(TOPIC, judge, is_async_validator=False)
        with pytest.raises(DecodeError if attack == "junk key" else ZeroDivisionError):
            await pubsub.push_msg(ID(b"a"), junk)
        pubsub.seen_messages.stop()
