"""Pools: who holds a base, for how long, and what no draw may do."""

from collections import Counter
from collections.abc import Mapping
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from protocol.hashing import as_number, digest
from protocol.parameters import DEMO, MAIN
from protocol.pools import MEMORY_OVERHEAD_MIB, MIB, Offer, Offers, Pool, Slot, its_turn, pool_size, redraw, with_room

PARAMETERS = replace(MAIN, pool=4, period=12)
beacons = st.binary(min_size=32, max_size=32)


def key(number: int) -> bytes:
    return digest("test/key", number)


def offer(number: int, disk: int = 10, memory: int = 4096) -> tuple[bytes, tuple[Offer, ...]]:
    return key(number), (Offer(digest("test/device", number, 0), memory, disk),)


@st.composite
def offerings(draw: st.DrawFn) -> Offers:
    """Up to a dozen accounts with one to three devices of little disk."""
    people = draw(st.integers(0, 12))
    return {
        key(number): tuple(
            Offer(digest("test/device", number, device), draw(st.sampled_from([600, 4096])), draw(st.integers(0, 8)))
            for device in range(draw(st.integers(1, 3)))
        )
        for number in range(people)
    }


bases = st.dictionaries(st.integers(0, 30).map(key), st.integers(1, 4 * MIB), max_size=6)


def check(pools: Mapping[bytes, Pool], sizes: Mapping[bytes, int], offers: Offers) -> None:
    """The invariants of the module."""
    offered = {o.device: o for devices in offers.values() for o in devices}
    used: Counter[bytes] = Counter()
    for base, pool in pools.items():
        holders = [slot.account for slot in pool if slot]
        assert len(set(holders)) == len(holders), "an account has at most one slot of a base"
        for slot in filter(None, pool):
            assert slot.device in {o.device for o in offers[slot.account]}
            assert offered[slot.device].memory * MIB >= sizes[base] + MEMORY_OVERHEAD_MIB * MIB
            used[slot.device] += sizes[base]
    assert all(size <= offered[device].disk * MIB for device, size in used.items())


@given(offerings(), bases, st.lists(beacons, min_size=1, max_size=4), st.integers(0, 100))
def test_room_is_respected_and_nobody_holds_a_base_twice(
    offers: Offers, sizes: dict[bytes, int], hours: list[bytes], start: int
) -> None:
    pools: dict[bytes, Pool] = {}
    for marks, beacon in enumerate(hours, start):
        pools = redraw(pools, sizes, offers, beacon=beacon, marks=marks, parameters=PARAMETERS)
        assert set(pools) == set(sizes)
        assert all(len(pool) == pool_size(len(offers), len(sizes), PARAMETERS) for pool in pools.values())
        check(pools, sizes, offers)


@given(offerings(), bases, beacons, beacons, st.integers(0, 100))
def test_a_slot_stays_with_its_holder_until_its_turn(
    offers: Offers, sizes: dict[bytes, int], first: bytes, second: bytes, marks: int
) -> None:
    before = redraw({}, sizes, offers, beacon=first, marks=marks, parameters=PARAMETERS)
    after = redraw(before, sizes, offers, beacon=second, marks=marks + 1, parameters=PARAMETERS)
    for base, pool in before.items():
        for number, slot in enumerate(pool):
            if slot and not its_turn(base, number, marks + 1, PARAMETERS):
                assert after[base][number] == slot


@given(offerings(), bases, beacons, st.randoms(use_true_random=False))
def test_pools_do_not_depend_on_the_order_in_which_things_are_listed(
    offers: Offers, sizes: dict[bytes, int], beacon: bytes, random: Random
) -> None:
    people, names = list(offers), list(sizes)
    random.shuffle(people)
    random.shuffle(names)
    shuffled = {person: tuple(random.sample(offers[person], len(offers[person]))) for person in people}
    one = redraw({}, sizes, offers, beacon=beacon, marks=3, parameters=PARAMETERS)
    other = redraw({}, {n: sizes[n] for n in names}, shuffled, beacon=beacon, marks=3, parameters=PARAMETERS)
    assert one == other


@given(offerings(), bases, beacons)
def test_a_slot_is_empty_only_where_nobody_may_have_it(offers: Offers, sizes: dict[bytes, int], beacon: bytes) -> None:
    pools = redraw({}, sizes, offers, beacon=beacon, marks=0, parameters=PARAMETERS)
    used: Counter[bytes] = Counter()
    for base, pool in pools.items():
        used.update({slot.device: sizes[base] for slot in pool if slot})
    for base, pool in pools.items():
        if None not in pool:
            continue
        for account in offers.keys() - {slot.account for slot in pool if slot}:
            for o in offers[account]:
                fits = o.memory * MIB >= sizes[base] + MEMORY_OVERHEAD_MIB * MIB
                assert not fits or used[o.device] + sizes[base] > o.disk * MIB


def test_the_first_draw_is_the_one_that_the_rule_names() -> None:
    offers = dict(offer(n) for n in range(9))
    pool = redraw({}, {key(1): MIB}, offers, beacon=b"b" * 32, marks=0, parameters=PARAMETERS)[key(1)]
    first = sorted(offers)[as_number(digest("peerboard/slot/1", b"b" * 32, key(1), 0, 0)) % 9]
    assert pool[0] == Slot(first, offers[first][0].device)


def test_every_slot_has_one_turn_in_a_period_and_a_mark_takes_few_of_a_pool() -> None:
    for base in map(key, range(20)):
        turns = [[n for n in range(15) if its_turn(base, n, marks, MAIN)] for marks in range(MAIN.period)]
        assert sorted(n for taken in turns for n in taken) == list(range(15))
        assert max(map(len, turns)) == 1
    at_once = Counter(marks for base in map(key, range(100)) for marks in range(168) if its_turn(base, 0, marks, MAIN))
    assert max(at_once.values()) < 6, "bases begin at different times"


def test_a_turn_empties_the_slot_and_anybody_eligible_may_follow() -> None:
    offers = dict(offer(n) for n in range(40))
    pools = redraw({}, {key(1): MIB}, offers, beacon=bytes(32), marks=0, parameters=PARAMETERS)
    followed = set()
    for marks in range(1, 200):
        later = redraw(pools, {key(1): MIB}, offers, beacon=key(marks), marks=marks, parameters=PARAMETERS)
        changed = [n for n in range(len(pools[key(1)])) if pools[key(1)][n] != later[key(1)][n]]
        assert all(its_turn(key(1), n, marks, PARAMETERS) for n in changed)
        followed |= {later[key(1)][n] for n in changed}
        pools = later
    assert len(followed) > 30


def test_who_goes_away_or_offers_too_little_loses_the_slot() -> None:
    offers = dict(offer(n) for n in range(4))
    pools = redraw({}, {key(1): MIB}, offers, beacon=bytes(32), marks=0, parameters=PARAMETERS)
    assert {slot.account for slot in pools[key(1)] if slot} == set(offers)
    gone = {account: devices for account, devices in offers.items() if account != key(0)}
    pools = redraw(pools, {key(1): MIB}, gone, beacon=bytes(32), marks=1, parameters=PARAMETERS)
    assert key(0) not in {slot.account for slot in pools[key(1)] if slot}
    small = gone | dict([offer(1, disk=0)])
    pools = redraw(pools, {key(1): MIB}, small, beacon=bytes(32), marks=2, parameters=PARAMETERS)
    assert {slot.account for slot in pools[key(1)] if slot} == {key(2), key(3)}


def test_slots_beyond_the_size_are_dropped() -> None:
    offers = dict(offer(n, disk=100) for n in range(30))
    one = redraw({}, {key(1): MIB}, offers, beacon=bytes(32), marks=0, parameters=PARAMETERS)
    assert len(one[key(1)]) == 30, "one base for thirty people: everybody holds it"
    many = {key(n): MIB for n in range(30)}
    assert {
        len(pool) for pool in redraw(one, many, offers, beacon=key(5), marks=1, parameters=PARAMETERS).values()
    } == {4}


def test_the_size_follows_the_formula() -> None:
    assert pool_size(0, 5, MAIN) == 0
    assert pool_size(4, 5, MAIN) == 4
    assert pool_size(200, 100, MAIN) == 15
    assert pool_size(200, 5, MAIN) == 120
    assert pool_size(200, 7, MAIN) == 86, "600 / 7 rounded up"
    assert pool_size(10, 0, DEMO) == 10


@given(st.sets(st.integers(0, 39)), st.integers(0, 20))
def test_at_most_a_share_of_a_pool_goes_to_accounts_without_attestation(known: set[int], marks: int) -> None:
    parameters = replace(MAIN, pool=10, period=12)
    offers = dict(offer(n) for n in range(40))
    attested = {key(n) for n in known}
    sizes = {key(n): 1 for n in range(100, 112)}
    pools: dict[bytes, Pool] = {}
    for later in range(3):
        pools = redraw(
            pools, sizes, offers, beacon=key(later), marks=marks + later, parameters=parameters, attested=attested
        )
        for pool in pools.values():
            holders = [slot.account for slot in pool if slot]
            assert sum(account not in attested for account in holders) <= 2
            assert len(holders) == min(10, 2 + len(attested))


def test_who_loses_the_attestation_makes_room() -> None:
    parameters = replace(MAIN, pool=10)
    offers = dict(offer(n) for n in range(20))
    everybody, sizes = set(offers), {key(n): 1 for n in range(100, 106)}
    pools = redraw({}, sizes, offers, beacon=key(0), marks=0, parameters=parameters, attested=everybody)
    pools = redraw(pools, sizes, offers, beacon=key(1), marks=1, parameters=parameters, attested=set())
    assert all(sum(slot is not None for slot in pool) == 2 for pool in pools.values())


def test_a_base_needs_half_a_gibibyte_of_memory_beside_its_own_size() -> None:
    for size, memory, fits in ((2**20, 513, True), (2**20, 512, False), (2**20 + 1, 513, False)):
        offers = dict([offer(1, memory=memory)])
        (slot,) = redraw({}, {key(1): size}, offers, beacon=bytes(32), marks=0, parameters=PARAMETERS)[key(1)]
        assert (slot is not None) == fits


def test_room_for_one_more_base_is_what_the_others_leave() -> None:
    offers = dict([offer(1, disk=2), offer(2, disk=1), offer(3, disk=1)])
    sizes = {key(number): MIB for number in range(10, 13)}
    slots = [Slot(account, devices[0].device) for account, devices in offers.items()]
    pools = {key(10): (slots[0], None), key(11): (None, slots[1])}
    assert set(with_room(pools, sizes, offers, key(12))) == {key(1), key(3)}
    assert set(with_room(pools, sizes, offers, key(11))) == set(offers), "what is held is not counted twice"
    assert list(with_room({}, sizes, offers, key(12))) == sorted(offers)


def test_after_four_tries_for_each_account_the_next_in_order_has_it() -> None:
    offers = dict(offer(number, disk=int(number < 2)) for number in range(9))
    accounts, fitting = sorted(offers), {key(0), key(1)}
    for hour in (3639, 4779):  # of these beacons all tries miss the two that have room
        beacon = hour.to_bytes(32, "big")
        tries = [as_number(digest("peerboard/slot/1", beacon, key(1), 0, attempt)) % 9 for attempt in range(4 * 9)]
        assert not {accounts[index] for index in tries} & fitting
        pool = redraw({}, {key(1): MIB}, offers, beacon=beacon, marks=0, parameters=PARAMETERS)[key(1)]
        in_order = [account for account in accounts[tries[0] :] + accounts[: tries[0]] if account in fitting]
        assert pool[0] is not None
        assert pool[0].account == in_order[0]
