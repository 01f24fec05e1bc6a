"""Frames are read and written in fewer steps than the library takes, to the same effect: each beside the stock."""

import struct
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from node import hardening, hardening_frames, hardening_pubsub

# isort: split
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.secp256k1 import create_new_key_pair as create_new_secp256k1_key_pair
from libp2p.io.exceptions import IncompleteReadError
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import PUBSUB_SIGNING_PREFIX
from libp2p.pubsub.validators import signature_validator
from libp2p.security.noise.io import NoiseTransportReadWriter
from libp2p.security.secure_session import SecureSession
from libp2p.stream_muxer.exceptions import MuxedStreamEOF, MuxedStreamReset
from libp2p.stream_muxer.yamux import yamux

KEYS = create_new_key_pair(bytes(32))
PEER = ID.from_pubkey(KEYS.public_key)


class Below:
    """What lies under a layer: gives pieces, keeps what is written, and counts."""

    def __init__(self, pieces: list[bytes], at_end: Callable[[], None] = lambda: None) -> None:
        self.pieces = list(pieces)
        self.written: list[bytes] = []
        self.reads = 0
        self._at_end = at_end

    async def read(self, n: int) -> bytes:
        await trio.lowlevel.checkpoint()
        self.reads += 1
        if not self.pieces:
            return b""
        taken = self.pieces[0][:n]
        self.pieces[0] = self.pieces[0][n:]
        if not self.pieces[0]:
            del self.pieces[0]
        return taken

    async def write(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.written.append(data)

    async def read_msg(self) -> bytes:
        await trio.lowlevel.checkpoint()
        if not self.pieces:
            self._at_end()
            raise IncompleteReadError("the end", expected_bytes=1, received_bytes=0)
        return self.pieces.pop(0)

    async def write_msg(self, data: bytes) -> None:
        await self.write(data)

    async def close(self) -> None:
        await trio.lowlevel.checkpoint()


class Cipher:
    """A Noise state that marks what passes."""

    def encrypt(self, data: bytes) -> bytes:
        return data + bytes(16)

    def decrypt(self, data: bytes) -> bytes:
        return data[:-16]


def cut(data: bytes, at: list[int]) -> list[bytes]:
    ends = sorted({min(place, len(data)) for place in at} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(ends)]


def run(work: Callable[[], Awaitable[Any]]) -> Any:
    async def bounded() -> Any:
        with trio.fail_after(3600):
            return await work()

    return trio.run(bounded, clock=MockClock(autojump_threshold=0))


class State:
    """What a connection has done with the frames that came."""

    def __init__(self, connection: yamux.Yamux, below: Below) -> None:
        self.streams = {
            identity: (
                bytes(connection.stream_buffers[identity]),
                connection.stream_events[identity].is_set(),
                stream.recv_window,
                stream.send_window,
                stream.recv_closed,
                stream.closed,
                stream.reset_received,
            )
            for identity, stream in connection.streams.items()
        }
        self.written = list(below.written)
        self.shutting_down = connection.event_shutting_down.is_set()


def over(below: Any, kind: type[yamux.Yamux]) -> Any:
    """A multiplexer over a session that hands its bytes on as they are."""
    session: Any = SecureSession(
        local_peer=PEER,
        local_private_key=KEYS.private_key,
        remote_peer=PEER,
        remote_permanent_pubkey=KEYS.public_key,
        is_initiator=True,
        conn=below,
    )
    return kind(session, PEER, is_initiator=True)


def after(kind: type[yamux.Yamux], pieces: list[bytes]) -> dict[str, Any]:
    found: list[State] = []

    async def main() -> None:
        below = Below(pieces, lambda: found.append(State(connection, below)))
        connection = over(below, kind)

        async def accept() -> None:
            async for _ in connection.new_stream_receive_channel:
                pass

        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept)
            await connection.handle_incoming()
            nursery.cancel_scope.cancel()
        found.append(State(connection, below))

    run(main)
    return vars(found[0])


DATA = st.tuples(st.just(0), st.sampled_from([0, 0, 2, 4, 8]), st.integers(1, 3), st.binary(min_size=1, max_size=40))
ANYTHING = st.tuples(
    st.sampled_from([0, 0, 1, 1, 2, 7]),
    st.sampled_from([0, 0, 1, 1, 2, 4, 8, 5, 6, 9]),
    st.integers(0, 4),
    st.binary(max_size=40) | st.just(bytes(70_000)),
)
FRAMES = st.lists(st.one_of(DATA, ANYTHING), max_size=12)


def packed(kind: int, flags: int, identity: int, data: bytes) -> bytes:
    return struct.pack("!BBHII", 0, kind, flags, identity, len(data)) + (data if kind == 0 else b"")


@given(frames=FRAMES, at=st.lists(st.integers(0, 1000), max_size=10), ending=st.binary(max_size=30))
def test_frames_have_the_effect_that_they_have_in_the_library(
    frames: list[tuple[int, int, int, bytes]], at: list[int], ending: bytes
) -> None:
    """PlainFrames."""
    opened = [packed(1, 1, identity, b"") for identity in (1, 2, 3)]
    pieces = cut(b"".join([*opened, *(packed(*frame) for frame in frames)]) + ending, at)
    assert after(hardening.BoundedYamux, pieces) == after(yamux.Yamux, pieces)


async def test_ordinary_frames_cost_one_read_for_all() -> None:
    """PlainFrames: the library looks at one frame of 51."""
    frames = [packed(1, 1, 1, b""), *[packed(0, 0, 1, bytes(100))] * 50]
    looked: dict[str, int] = {}
    for kind in (hardening.BoundedYamux, yamux.Yamux):
        below = Below([b"".join(frames)])
        connection = over(below, kind)
        connection.streams_lock = lock = Counting()
        await connection.handle_incoming()
        looked[kind.__name__] = lock.entered
    assert looked["Yamux"] >= 51
    assert looked["BoundedYamux"] <= 3


class Counting:
    """A lock that counts."""

    def __init__(self) -> None:
        self.entered = 0

    async def __aenter__(self) -> None:
        self.entered += 1

    async def __aexit__(self, *_: object) -> None: ...


@given(messages=st.lists(st.binary(max_size=60), max_size=8), at=st.lists(st.integers(0, 400), max_size=8))
def test_messages_come_out_however_they_are_cut_and_in_fewer_reads(messages: list[bytes], at: list[int]) -> None:
    """_read_message."""
    wire = b"".join((len(each) + 16).to_bytes(2, "big") + each + bytes(16) for each in messages)
    reads: list[int] = []

    async def collect(read: Any) -> list[bytes]:
        below = Below(cut(wire, at))
        secured = NoiseTransportReadWriter(below, Cipher())
        found = [await read(secured) for _ in messages]
        with pytest.raises(IncompleteReadError):
            await read(secured)
        reads.append(below.reads)
        return found

    for read in (hardening_frames._read_message, hardening_frames._stock_read_message):
        assert run(lambda read=read: collect(read)) == messages  # type: ignore[misc]
    assert reads[0] <= reads[1]
    assert reads[0] <= len(cut(wire, at)) + 1


async def test_tiny_messages_do_not_hold_the_loop() -> None:
    below = Below([(17).to_bytes(2, "big") + bytes(17) for _ in range(1)])
    below.pieces = [below.pieces[0] * 64]
    secured = NoiseTransportReadWriter(below, Cipher())
    await hardening_frames._read_message(secured)
    with trio.CancelScope() as scope:
        scope.cancel()
        for _ in range(63):
            await hardening_frames._read_message(secured)
    assert scope.cancelled_caught


@given(length=st.sampled_from([0, 1, 65_519, 65_520, 200_000]))
def test_a_long_message_is_written_in_one_piece_with_the_same_bytes(length: int) -> None:
    """_write_message."""
    written: list[list[bytes]] = []

    async def write(how: Any) -> None:
        below = Below([])
        await how(NoiseTransportReadWriter(below, Cipher()), bytes(length))
        written.append(below.written)

    for how in (hardening_frames._write_message, hardening_frames._stock_write_message):
        run(lambda how=how: write(how))  # type: ignore[misc]
    ours, stock = written
    assert b"".join(ours) == b"".join(stock)
    assert len(ours) == 1
    assert len(stock) == max(1, -(-length // 65_519))


@pytest.fixture
def connection() -> yamux.Yamux:
    session: Any = Below([])
    return hardening.BoundedYamux(session, PEER, is_initiator=True)


def stream_of(connection: yamux.Yamux) -> yamux.YamuxStream:
    stream = yamux.YamuxStream(1, connection, is_initiator=True)
    connection.streams[1], connection.stream_buffers[1] = stream, bytearray()
    connection.stream_events[1] = trio.Event()
    return stream


@pytest.mark.parametrize("read", [hardening_frames._read_stream, hardening_frames._stock_stream_read])
async def test_a_stream_is_read_to_its_end(connection: yamux.Yamux, read: Any, nursery: trio.Nursery) -> None:
    """_read_stream, beside what it stands for."""
    stream, got = stream_of(connection), []

    async def collect() -> None:
        try:
            while True:
                got.append(await read(stream, 4))
        except MuxedStreamEOF:
            got.append(b"the end")

    nursery.start_soon(collect)
    for data in (b"123456", b"", b"78"):
        connection.stream_buffers[1] += data
        connection.stream_events[1].set()
        await trio.testing.wait_all_tasks_blocked()
    connection.stream_buffers[1] += b"9"
    stream.recv_closed = True
    connection.stream_events[1].set()
    await trio.testing.wait_all_tasks_blocked()
    assert got == [b"1234", b"56", b"78", b"9", b"the end"]


@pytest.mark.parametrize("read", [hardening_frames._read_stream, hardening_frames._stock_stream_read])
async def test_a_reader_that_waits_hears_of_the_reset(
    connection: yamux.Yamux, read: Any, nursery: trio.Nursery
) -> None:
    stream, heard = stream_of(connection), trio.Event()

    async def wait() -> None:
        with pytest.raises(MuxedStreamReset):
            await read(stream, 4)
        heard.set()

    nursery.start_soon(wait)
    await trio.testing.wait_all_tasks_blocked()
    stream.closed = stream.reset_received = True
    connection.stream_events[1].set()
    with trio.fail_after(30):
        await heard.wait()


async def test_a_read_takes_no_lock(connection: yamux.Yamux) -> None:
    stream = stream_of(connection)
    connection.streams_lock = lock = Counting()
    for read in (hardening_frames._read_stream, hardening_frames._stock_stream_read):
        connection.stream_buffers[1] += b"data"
        assert await read(stream, 10) == b"data"
        connection.streams_lock.entered, found = 0, lock.entered
        assert found == (0 if read is hardening_frames._read_stream else 1)


async def test_whoever_gives_up_waiting_for_a_lock_leaves_it_to_the_next(nursery: trio.Nursery) -> None:
    """QuickLock."""
    lock, order = hardening.QuickLock(), []
    first = trio.CancelScope()

    async def give_up() -> None:
        with first:
            async with lock:
                order.append("never")

    async def wait() -> None:
        async with lock:
            order.append("waited")

    async with lock:
        nursery.start_soon(give_up)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        first.cancel()
        await trio.testing.wait_all_tasks_blocked()
        order.append("held")
    await trio.testing.wait_all_tasks_blocked()
    async with lock:
        order.append("free")
    assert order == ["held", "waited", "free"]


def signed(keys: Any, data: bytes) -> Any:
    author = ID.from_pubkey(keys.public_key).to_bytes()
    message = rpc_pb2.Message(data=data, topicIDs=["t"], from_id=author, seqno=b"1")
    message.signature = keys.private_key.sign(PUBSUB_SIGNING_PREFIX.encode() + message.SerializeToString())
    message.key = keys.public_key.serialize()
    return message


@pytest.mark.parametrize("keys", [KEYS, create_new_secp256k1_key_pair()], ids=["in its id", "attached"])
@given(field=st.sampled_from(["", "data", "from_id", "seqno", "signature", "key"]), value=st.binary(max_size=80))
def test_signatures_hold_where_the_library_says_so(keys: Any, field: str, value: bytes) -> None:
    """_signed: the author's key is taken apart once, not for each message."""
    message = signed(keys, b"words")
    if field:
        setattr(message, field, value)
    try:
        expected = signature_validator(message)
    except Exception:
        expected = False
    assert hardening_pubsub._signed(message) is expected
    assert expected or field


def test_authors_keys_are_remembered_within_bounds() -> None:
    hardening_pubsub._inline_key.cache_clear()
    for _ in range(3):
        assert hardening_pubsub._signed(signed(KEYS, b"words"))
    assert hardening_pubsub._inline_key.cache_info()[:2] == (2, 1)
    assert not hardening_pubsub._signed(rpc_pb2.Message(from_id=bytes(1_000_000), signature=b"s"))
    assert hardening_pubsub._inline_key.cache_info().currsize == 1
