"""What every `Network` promises of gossip, asked of the in-memory one and of libp2p over real sockets."""

import pytest
import trio

from node.network import MESSAGE_MAXIMUM, Gossip
from tests.node.network_worlds import PATIENCE, TOPIC, World, anything, chain, next_message


async def test_a_message_reaches_every_subscriber_once_and_not_its_publisher(world: World) -> None:
    async with (
        chain(world, "a", "b", "c") as (a, b, c),
        a.subscribe(TOPIC, anything) as at_a,
        b.subscribe(TOPIC, anything) as at_b,
        c.subscribe(TOPIC, anything) as at_c,
    ):
        await b.await_audience(TOPIC, 2)
        await a.await_audience(TOPIC)
        await c.await_audience(TOPIC)
        for number in range(5):
            await a.publish(TOPIC, b"from a %d" % number)
        assert {await next_message(at_c) for _ in range(5)} == {b"from a %d" % number for number in range(5)}
        await c.publish(TOPIC, b"from c")
        assert await next_message(at_a) == b"from c"
        assert {await next_message(at_b) for _ in range(6)} == {
            *(b"from a %d" % n for n in range(5)),
            b"from c",
        }
        assert a.traffic.published == 5
        assert c.traffic.delivered == 5


async def test_the_sender_is_the_neighbour(world: World) -> None:
    async with (
        chain(world, "a", "b", "c") as (a, b, c),
        a.subscribe(TOPIC, anything),
        b.subscribe(TOPIC, anything),
        c.subscribe(TOPIC, anything) as at_c,
    ):
        await b.await_audience(TOPIC, 2)
        await a.await_audience(TOPIC)
        await a.publish(TOPIC, b"hello")
        with trio.fail_after(PATIENCE):
            assert await at_c.receive() == Gossip(b"hello", b.peer)


async def test_the_same_bytes_again_are_not_delivered_again(world: World) -> None:
    async with (
        chain(world, "a", "b") as (a, b),
        a.subscribe(TOPIC, anything) as at_a,
        b.subscribe(TOPIC, anything) as at_b,
    ):
        await a.await_audience(TOPIC)
        await b.await_audience(TOPIC)
        await a.publish(TOPIC, b"one")
        assert await next_message(at_b) == b"one"
        await a.publish(TOPIC, b"one")
        await b.publish(TOPIC, b"one")
        await a.publish(TOPIC, b"two")
        await b.publish(TOPIC, b"three")
        assert await next_message(at_b) == b"two"
        assert await next_message(at_a) == b"three"


async def test_the_same_bytes_on_another_topic_are_another_message(world: World) -> None:
    async with (
        chain(world, "a", "b") as (a, b),
        b.subscribe(TOPIC, anything) as first,
        b.subscribe(TOPIC + "/other", anything) as second,
    ):
        await a.await_audience(TOPIC)
        await a.await_audience(TOPIC + "/other")
        await a.publish(TOPIC, b"same")
        await a.publish(TOPIC + "/other", b"same")
        assert await next_message(first) == b"same"
        assert await next_message(second) == b"same"


async def test_what_a_validator_refuses_is_neither_delivered_nor_relayed(world: World) -> None:
    def strict(data: bytes) -> bool:
        if data == b"trap":
            raise RuntimeError
        return data != b"bad"

    async with (
        chain(world, "a", "b", "c") as (a, b, c),
        a.subscribe(TOPIC, anything),
        b.subscribe(TOPIC, strict) as at_b,
        c.subscribe(TOPIC, anything) as at_c,
    ):
        await b.await_audience(TOPIC, 2)
        await a.await_audience(TOPIC)
        await a.publish(TOPIC, b"bad")
        await a.publish(TOPIC, b"trap")
        await a.publish(TOPIC, b"good")
        assert await next_message(at_b) == b"good"
        assert await next_message(at_c) == b"good"
        assert b.traffic.rejected == 2
        assert c.traffic.delivered == 1


async def test_what_is_not_admitted_goes_no_further_and_is_held_against_nobody(world: World) -> None:
    async with (
        chain(world, "a", "b", "c") as (a, b, c),
        a.subscribe(TOPIC, anything),
        b.subscribe(TOPIC, anything, admit=lambda data: not data.startswith(b"much")) as at_b,
        c.subscribe(TOPIC, anything) as at_c,
    ):
        await b.await_audience(TOPIC, 2)
        await a.await_audience(TOPIC)
        for number in range(40):  # as many invalid ones would silence their sender
            await a.publish(TOPIC, b"much %d" % number)
        await a.publish(TOPIC, b"good")
        assert await next_message(at_b) == b"good"
        assert await next_message(at_c) == b"good"
        assert (b.traffic.ignored, b.traffic.rejected) == (40, 0)
        assert c.traffic.delivered == 1


async def test_publishing_what_the_own_validator_refuses_or_too_much_is_a_mistake(
    world: World,
) -> None:
    async with world.open("a") as a, a.subscribe(TOPIC, lambda data: data != b"bad"):
        with pytest.raises(ValueError, match="refuses"):
            await a.publish(TOPIC, b"bad")
        with pytest.raises(ValueError, match="longer"):
            await a.publish(TOPIC, bytes(MESSAGE_MAXIMUM + 1))
        await a.publish(TOPIC, b"nobody hears this")


async def test_the_longest_message_travels(world: World) -> None:
    async with chain(world, "a", "b") as (a, b), b.subscribe(TOPIC, anything) as at_b:
        await a.await_audience(TOPIC)
        await a.publish(TOPIC, bytes(MESSAGE_MAXIMUM))
        assert await next_message(at_b) == bytes(MESSAGE_MAXIMUM)


async def test_a_slow_subscriber_loses_the_oldest_messages(world: World) -> None:
    async with (
        chain(world, "a", "b", "c") as (a, b, c),
        b.subscribe(TOPIC, anything, queue=2) as slow,
        c.subscribe(TOPIC, anything) as fast,
    ):
        await a.await_audience(TOPIC)
        await b.await_audience(TOPIC)
        messages = [b"%d" % number for number in range(6)]
        for message in messages:
            await a.publish(TOPIC, message)
            assert await next_message(fast) == message
        assert [await next_message(slow), await next_message(slow)] == messages[-2:]
        assert b.traffic.dropped == 4


async def test_one_subscriber_a_topic_and_leaving_makes_room(world: World) -> None:
    async with chain(world, "a", "b") as (a, b):
        async with a.subscribe(TOPIC, anything) as first:
            with pytest.raises(ValueError, match="already"):
                async with a.subscribe(TOPIC, anything):
                    pass
            await b.await_audience(TOPIC)
        assert [message async for message in first] == []
        async with a.subscribe(TOPIC, anything) as second:
            await b.await_audience(TOPIC)
            await b.publish(TOPIC, b"hello")
            assert await next_message(second) == b"hello"


async def test_a_restarted_node_is_the_same_peer_and_its_messages_count(world: World) -> None:
    async with world.open("a") as a, a.subscribe(TOPIC, anything) as at_a:
        names = set()
        for life in range(2):
            async with world.open("b") as b, b.subscribe(TOPIC, anything):
                names.add(b.peer)
                await b.connect(a.addresses[0])
                await b.await_audience(TOPIC)
                for number in range(3):
                    await b.publish(TOPIC, b"life %d message %d" % (life, number))
                received = {await next_message(at_a) for _ in range(3)}
                assert received == {b"life %d message %d" % (life, number) for number in range(3)}
        assert len(names) == 1
