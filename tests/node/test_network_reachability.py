"""Finding out whether others can dial this node, and being reached through relays if not; under a mock clock."""

from contextlib import AsyncExitStack

import msgspec
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from node.memory_network import RESERVATION_SECONDS, MemoryHub, MemoryNetwork
from node.reachability import DIAL_BACK, DIALLED, Dialled, Listening, Standing, _at
from tests.node.living_networks import BOOTSTRAP, living


def standing(network: MemoryNetwork) -> Standing:
    return network.reach.reachability.standing


async def test_a_node_learns_whether_it_can_be_dialled(memory_hub: MemoryHub, autojump_clock: MockClock) -> None:
    async with (
        living(memory_hub, "alone", "/ip4/10.9.9.9/tcp/1/p2p/nobody") as alone,
        living(memory_hub, "bootstrap", relay=True) as bootstrap,
        living(memory_hub, "open", BOOTSTRAP) as public,
        living(memory_hub, "hidden", BOOTSTRAP, hidden=True) as hidden,
    ):
        await trio.sleep(60)
        assert standing(alone) is Standing.UNKNOWN
        assert (standing(public), public.reach.reachability.confirmed) == (Standing.PUBLIC, public.addresses)
        assert (standing(hidden), hidden.reach.reachability.confirmed) == (Standing.PRIVATE, ())
        assert (public.relays, hidden.relays, bootstrap.relayed) == ((), ("bootstrap",), ("hidden",))
        hidden.hidden, public.hidden = False, True
        await trio.sleep(1000)
        assert (standing(public), standing(hidden)) == (Standing.PRIVATE, Standing.PUBLIC)


async def test_reservations_are_renewed_and_made_again_after_the_relay_was_away(
    memory_hub: MemoryHub, autojump_clock: MockClock
) -> None:
    async with living(memory_hub, "hidden", BOOTSTRAP, hidden=True) as hidden:
        for _ in range(2):
            async with living(memory_hub, "bootstrap", relay=True) as bootstrap:
                await trio.sleep(60)
                for _ in range(50):
                    assert hidden.relays == ("bootstrap",)
                    assert bootstrap.relayed == ("hidden",)
                    await trio.sleep(RESERVATION_SECONDS / 10)
            assert hidden.relays == ()
            await trio.sleep(600)


async def test_those_who_cannot_be_dialled_meet_through_the_relay_and_leave_the_others_alone(
    memory_hub: MemoryHub, autojump_clock: MockClock
) -> None:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(living(memory_hub, "bootstrap", relay=True))
        public = await stack.enter_async_context(living(memory_hub, "open", BOOTSTRAP))
        hidden = [
            await stack.enter_async_context(living(memory_hub, f"h{number}", BOOTSTRAP, hidden=True))
            for number in range(3)
        ]
        await trio.sleep(300)
        for node in hidden:
            assert {peer.peer: peer.relayed for peer in node.peers()} == {
                "bootstrap": False,
                "open": False,
                **{other.peer: True for other in hidden if other is not node},
            }
        assert not any(peer.relayed for peer in public.peers())
        hidden[0].hidden = False
        await trio.sleep(1500)
        assert not any(peer.relayed for peer in hidden[0].peers()), "who can be dialled now is dialled"


async def test_nobody_is_dialled_elsewhere_than_where_they_come_from(
    memory_hub: MemoryHub, autojump_clock: MockClock
) -> None:
    dialled: list[str] = []

    async def answers(address: str) -> bool:
        dialled.append(address)
        return True

    async with memory_hub.open("bootstrap") as bootstrap, memory_hub.open("a") as a, memory_hub.open("b") as b:
        await a.connect(BOOTSTRAP)
        await b.connect(BOOTSTRAP)
        bootstrap.answers = answers  # type: ignore[method-assign]
        named = (b.addresses[0], "/ip4/8.8.8.8/tcp/22/p2p/a", "junk", f"{b.addresses[0]}/p2p-circuit/p2p/a")
        question = msgspec.json.encode(Listening(named))
        said = msgspec.json.decode(await a.request("bootstrap", DIAL_BACK, question), type=Dialled)
        host = a.place.split("/")[2]
        assert dialled == list(said.reached) == [f"/ip4/{host}/tcp/4001/p2p/a", f"/ip4/{host}/tcp/22/p2p/a"]
        assert said.host == host
        again = msgspec.json.decode(await a.request("bootstrap", DIAL_BACK, question), type=Dialled)
        assert again == Dialled("", ())
        assert len(dialled) == 2, "not again within a few seconds"


@given(st.lists(st.text(max_size=60) | st.sampled_from(["/ip4/1.1.1.1/tcp/5/p2p/x", "/ip6/::1/udp/9/quic-v1/p2p/y"])))
def test_whatever_is_named_few_places_at_the_one_host_are_dialled(named: list[str]) -> None:
    places = _at("9.8.7.6", "a", tuple(named))
    assert len(places) <= DIALLED
    assert all((place.host, place.peer, place.relay) == ("9.8.7.6", "a", "") for place in places)
