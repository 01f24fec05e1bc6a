"""Of two near neighbours that have a message, one sends it to the other; the other only if that does not happen."""

import hashlib

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from node import hardening
from node.hardening_relay import HOLD_SECONDS, Withheld, speaks_first
from tests.node.loopback import LOOPBACK, met, opened

# isort: split
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2

TOPIC = "/peerboard/test/1"
A, B = ID(b"a" * 38), ID(b"b" * 38)


@given(mine=st.binary(min_size=34, max_size=42), other=st.binary(min_size=34, max_size=42), message=st.binary())
def test_exactly_one_of_two_speaks_first(mine: bytes, other: bytes, message: bytes) -> None:
    identity = hashlib.sha256(message).digest()
    spoken = speaks_first(ID(mine), ID(other), identity), speaks_first(ID(other), ID(mine), identity)
    assert sum(spoken) == (2 if mine[-32:] == other[-32:] else 1)


def test_each_of_two_speaks_first_half_of_the_time() -> None:
    identities = [hashlib.sha256(bytes([number])).digest() for number in range(200)]
    assert 70 < sum(speaks_first(A, B, identity) for identity in identities) < 130


async def test_what_the_neighbour_sent_is_dropped_and_the_rest_comes_soon_after_its_time(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    held = Withheld()
    sent: list[tuple[float, dict[ID, bytes]]] = []

    async def send() -> None:
        while True:
            ready = await held.overdue()
            sent.append((trio.current_time() - start, ready))

    nursery.start_soon(send)
    await trio.testing.wait_all_tasks_blocked()
    start = trio.current_time()
    held.hold(b"1", b"first", [A, B])
    held.hold(b"2", b"second", [A])
    held.hold(b"3", b"third", [])
    held.drop(b"1", A)
    held.drop(b"1", A)
    held.drop(b"unknown", A)
    await trio.sleep(HOLD_SECONDS / 4)
    held.hold(b"4", b"fourth", [B])
    await trio.sleep(10)
    assert [ready for _, ready in sent] == [{B: b"first", A: b"second"}, {B: b"fourth"}]
    assert sent[0][0] == pytest.approx(HOLD_SECONDS)
    assert sent[1][0] == pytest.approx(1.5 * HOLD_SECONDS)
    held.hold(b"5", b"fifth", [A])
    held.drop(b"5", A)
    await trio.sleep(10)
    assert len(sent) == 2


async def test_a_near_neighbour_is_sent_nothing_that_it_is_to_send_itself() -> None:
    """GuardedGossip.relay: each link of the mesh carries a message once, not twice."""
    async with met(TOPIC) as (a, b):
        router, peer, author = a.pubsub.router, ID.from_string(b.peer), ID(b"c" * 38)
        router.mesh[TOPIC] = {peer}
        connection = a.pubsub.peers[peer].muxed_conn
        waiting = a.pubsub.peer_queues[peer]._queue

        def relayed(round_trip: float, *, copied: bool = False) -> dict[bool, set[int]]:
            """By whether a speaks first: how many frames are queued for b at once, whatever the message."""
            connection._rtt = round_trip
            found: dict[bool, set[int]] = {True: set(), False: set()}
            for number in range(40):
                data = bytes([number, copied, int(100 * round_trip)])
                message = rpc_pb2.Message(data=data, topicIDs=[TOPIC], from_id=author.to_bytes(), seqno=b"1")
                identity = hardening.content_id(message)
                router.relay(message, identity, forwarder=author)
                found[speaks_first(a.pubsub.my_id, peer, identity)].add(len(waiting))
                while waiting.pop():
                    pass
                if copied:
                    router.note_copy(identity, peer)
            return found

        assert relayed(2 * HOLD_SECONDS) == {True: {1}, False: {1}}
        assert relayed(0.0) == {True: {1}, False: {1}}  # not measured yet
        assert not router._withheld._held
        assert relayed(HOLD_SECONDS / 2, copied=True) == {True: {1}, False: {0}}
        assert not router._withheld._held
        assert relayed(HOLD_SECONDS / 2) == {True: {1}, False: {0}}
        assert router._withheld._held


async def test_what_no_neighbour_sends_arrives_all_the_same() -> None:
    """Three in a row: the one in the middle speaks first for half of the messages, and passes on all of them."""
    async with (
        opened("a", LOOPBACK) as a,
        opened("b", LOOPBACK) as b,
        opened("c", LOOPBACK) as c,
        a.subscribe(TOPIC, lambda data: True),
        b.subscribe(TOPIC, lambda data: True),
        c.subscribe(TOPIC, lambda data: True) as heard,
    ):
        await b.connect(a.addresses[0])
        await b.connect(c.addresses[0])
        await a.await_audience(TOPIC)
        await b.await_audience(TOPIC, 2)
        b.pubsub.peers[ID.from_string(c.peer)].muxed_conn._rtt = HOLD_SECONDS / 10
        sent = {bytes([number]) * 100 for number in range(20)}
        for data in sent:
            await a.publish(TOPIC, data)
        assert {(await heard.receive()).data for _ in sent} == sent
