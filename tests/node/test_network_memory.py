"""What the hub of the in-memory networks adds: delays, losses, partitions, one fixed order."""

import trio
from trio.testing import MockClock

from node.memory_network import open_memory_hub
from node.network import Gossip, PeerChange, Unreachable
from tests.node.network_worlds import TOPIC, anything


async def test_delays_pass_on_the_mock_clock(autojump_clock: MockClock) -> None:
    async with open_memory_hub() as hub, hub.open("a") as a, hub.open("b") as b, hub.open("c") as c:
        hub.delay = lambda sender, receiver: 3.0 if "b" in (sender, receiver) else 1.0
        await a.connect(b.addresses[0])
        await b.connect(c.addresses[0])
        start = trio.current_time()
        async with b.subscribe(TOPIC, anything), c.subscribe(TOPIC, anything) as at_c:
            await a.publish(TOPIC, b"hello")
            assert await at_c.receive() == Gossip(b"hello", "b")
        assert trio.current_time() - start == 6.0


async def test_lost_messages_take_the_other_way(autojump_clock: MockClock) -> None:
    async with open_memory_hub() as hub, hub.open("a") as a, hub.open("b") as b, hub.open("c") as c:
        for one, other in ((a, b), (b, c), (a, c)):
            await one.connect(other.addresses[0])
        hub.loses = lambda sender, receiver, data: (sender, receiver) == ("a", "c")
        async with b.subscribe(TOPIC, anything), c.subscribe(TOPIC, anything) as at_c:
            await a.publish(TOPIC, b"hello")
            assert (await at_c.receive()).sender == "b"


async def test_a_partition_parts_and_heals(autojump_clock: MockClock) -> None:
    async with open_memory_hub() as hub, hub.open("a") as a, hub.open("b") as b, hub.open("c") as c:
        for one, other in ((a, b), (b, c), (a, c)):
            await one.connect(other.addresses[0])
        async with a.changes() as changes:
            assert {(await changes.receive()).peer for _ in range(2)} == {"b", "c"}
            hub.partition(["a"], ["b", "c"])
            left = {await changes.receive() for _ in range(2)}
            assert left == {PeerChange("b", joined=False), PeerChange("c", joined=False)}
            assert [peer.peer for peer in b.peers()] == ["c"]
            try:
                await a.connect(b.addresses[0])
            except Unreachable:
                hub.heal()
            assert await a.connect(b.addresses[0]) == "b"


async def test_the_order_of_arrival_is_the_same_every_time(autojump_clock: MockClock) -> None:
    async def run() -> list[Gossip]:
        names = [f"n{number}" for number in range(6)]
        async with open_memory_hub() as hub, trio.open_nursery() as nursery:
            hub.delay = lambda sender, receiver: (int(sender[1]) * 7 + int(receiver[1]) * 3) % 5 / 10
            networks = []
            ready: list[Gossip] = []

            async def live(name: str, *, task_status: trio.TaskStatus[None]) -> None:
                async with hub.open(name) as network, network.subscribe(TOPIC, anything) as messages:
                    networks.append(network)
                    task_status.started()
                    async for message in messages:
                        if name == "n5":
                            ready.append(message)

            for name in names:
                await nursery.start(live, name)
            for one in networks:
                for other in networks:
                    if one.peer < other.peer and (int(one.peer[1]) + int(other.peer[1])) % 3:
                        await one.connect(other.addresses[0])
            for number in range(20):
                await networks[number % 5].publish(TOPIC, b"%d" % number)
            await trio.sleep(10)
            nursery.cancel_scope.cancel()
        return ready

    first = await run()
    assert len(first) == 20
    assert await run() == first


async def test_a_message_is_forgotten_after_a_while(autojump_clock: MockClock) -> None:
    async with open_memory_hub() as hub, hub.open("a") as a, hub.open("b") as b:
        await a.connect(b.addresses[0])
        async with b.subscribe(TOPIC, anything) as at_b:
            await a.publish(TOPIC, b"hello")
            await at_b.receive()
            await trio.sleep(121)
            await a.publish(TOPIC, b"hello")
            assert await at_b.receive() == Gossip(b"hello", "a")
