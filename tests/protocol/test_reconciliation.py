"""Both sides end with the union, in messages that follow the specification, whatever the other side sends."""

import contextlib
import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.reconciliation import MIN_FRAME_LIMIT, ItemSet, Reconciler, respond
from protocol.reconciliation_format import (
    INFINITY,
    KEY_BYTES,
    MAX_EPOCH,
    MAX_MESSAGE_BYTES,
    VERSION,
    InvalidMessage,
    Range,
    UnknownVersion,
    Writer,
    number,
    parse,
    shortest_bound,
)

Item = tuple[int, bytes]


def item(seed: int, epochs: int = 3) -> Item:
    """A message of one of a few epochs, as there are in life."""
    identity = hashlib.sha256(b"%d" % seed).digest()
    return 700 + identity[0] % epochs, identity


class Talk:
    """One whole reconciliation, played to its end."""

    def __init__(
        self,
        ours: list[Item],
        theirs: list[Item],
        limit: int = MIN_FRAME_LIMIT,
        refused: frozenset[bytes] = frozenset(),
    ) -> None:
        self.have: list[bytes] = []
        self.need: list[bytes] = []
        self.messages: list[bytes] = []
        asking, asked = Reconciler(ItemSet(ours), limit, refused), ItemSet(theirs)
        message: bytes | None = asking.initiate()
        while message is not None:
            answer = respond(asked, message, limit)
            self.messages += [message, answer]
            step = asking.reconcile(answer)
            self.have += step.have
            self.need += step.need
            message = step.reply
            assert len(self.messages) < 2 * (len(ours) + len(theirs) + 10), "no end in sight"

    @property
    def bytes(self) -> int:
        return sum(map(len, self.messages))


EPOCHS = st.integers(0, 3) | st.integers(0, MAX_EPOCH)
IDS = st.binary(min_size=32, max_size=32) | st.binary(min_size=2, max_size=2).map(lambda end: bytes(30) + end)
HOLDERS = st.tuples(EPOCHS, st.sampled_from(["us", "them", "both", "both", "both"]))


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(IDS, HOLDERS, max_size=90))
def test_both_sides_learn_exactly_the_difference(universe: dict[bytes, tuple[int, str]]) -> None:
    mine = [(epoch, identity) for identity, (epoch, holder) in universe.items() if holder != "them"]
    yours = [(epoch, identity) for identity, (epoch, holder) in universe.items() if holder != "us"]
    talk = Talk(mine, yours)
    assert sorted(talk.have) == sorted(identity for identity, (_, holder) in universe.items() if holder == "us")
    assert sorted(talk.need) == sorted(identity for identity, (_, holder) in universe.items() if holder == "them")


@settings(max_examples=60, deadline=None)
@given(
    common=st.integers(0, 3000),
    ours=st.integers(0, 400),
    theirs=st.integers(0, 400),
    epochs=st.sampled_from([1, 3, 200]),
    limit=st.sampled_from([MIN_FRAME_LIMIT, 10_000, 10**6]),
)
def test_large_sets_within_any_frame_limit(common: int, ours: int, theirs: int, epochs: int, limit: int) -> None:
    shared = [item(seed, epochs) for seed in range(common)]
    mine = shared + [item(10_000 + seed, epochs) for seed in range(ours)]
    yours = shared + [item(20_000 + seed, epochs) for seed in range(theirs)]
    talk = Talk(mine, yours, limit)
    assert sorted(talk.have) == sorted(identity for _, identity in mine[common:])
    assert sorted(talk.need) == sorted(identity for _, identity in yours[common:])
    assert max(map(len, talk.messages)) <= limit


@pytest.mark.parametrize(("ours", "theirs"), [(0, 3000), (3000, 0), (1, 3000), (3000, 1), (0, 0)])
def test_one_side_may_have_next_to_nothing(ours: int, theirs: int) -> None:
    mine, yours = [item(seed) for seed in range(ours)], [item(seed) for seed in range(theirs)]
    talk = Talk(mine, yours)
    assert len(talk.have) == max(0, ours - theirs)
    assert len(talk.need) == max(0, theirs - ours)
    assert talk.bytes <= 500 + 45 * max(ours, theirs)


def test_equal_sets_cost_one_short_round_of_any_size() -> None:
    for size in (0, 10, 1000, 20_000):
        items = [item(seed) for seed in range(size)]
        talk = Talk(items, items)
        assert len(talk.messages) == 2
        assert talk.bytes < 400


def test_bytes_grow_with_the_difference_and_hardly_with_the_sets() -> None:
    """Each difference costs a path of fingerprints: its length grows with the logarithm of the set."""
    sizes = {}
    for size in (1_000, 32_000):
        items = [item(seed) for seed in range(size)]
        for missing in (1, 10, 100):
            step = size // missing
            sizes[size, missing] = Talk(items, [x for i, x in enumerate(items) if i % step], 10**6).bytes
    for size in (1_000, 32_000):
        assert sizes[size, 1] < sizes[size, 10] < sizes[size, 100]
    for missing in (1, 10, 100):
        assert sizes[32_000, missing] < 4 * sizes[1_000, missing]
        assert sizes[32_000, missing] < 400 + 1_000 * missing


@given(seeds=st.sets(st.integers(0, 50), max_size=20), refused=st.sets(st.integers(0, 50), max_size=20))
def test_refused_ids_are_never_asked_for(seeds: set[int], refused: set[int]) -> None:
    yours = [item(seed) for seed in sorted(seeds)]
    talk = Talk([], yours, refused=frozenset(item(seed)[1] for seed in refused))
    assert sorted(talk.need) == sorted(item(seed)[1] for seed in seeds - refused)
    assert talk.have == []


def test_the_responder_keeps_nothing_between_messages() -> None:
    """A set that grows while two peers talk confuses nobody for long: the next talk finds what this one missed."""
    shared = [item(seed) for seed in range(500)]
    asking = Reconciler(ItemSet(shared))
    first = respond(ItemSet([*shared, item(1000)]), asking.initiate())
    reply = asking.reconcile(first).reply
    assert reply is not None
    late = [*shared, item(1000), item(2000)]
    while reply is not None:
        reply = asking.reconcile(respond(ItemSet(late), reply)).reply
    assert sorted(Talk(shared, late).need) == sorted([item(1000)[1], item(2000)[1]])


# --- the bytes ---------------------------------------------------------------------------------------------------


def test_the_first_message_of_small_sets_is_a_list_up_to_infinity() -> None:
    """Version, infinite bound (no time, no prefix), mode 2, count, ids."""
    assert Reconciler(ItemSet([])).initiate().hex() == "61" + "0000" + "02" + "00"
    assert Reconciler(ItemSet([(5, b"\xaa" * 32)])).initiate().hex() == "61" + "0000" + "02" + "01" + "aa" * 32


def test_the_first_message_of_larger_sets_is_fingerprints() -> None:
    ids = [bytes([i]) * 32 for i in range(16)]
    message = Reconciler(ItemSet([(5, identity) for identity in ids])).initiate()
    expected = "61"
    for part in range(8):
        total = (sum(int.from_bytes(x, "little") for x in ids[2 * part : 2 * part + 2])) % 2**256
        fingerprint = hashlib.sha256(total.to_bytes(32, "little") + b"\x02").digest()[:16]
        time = 6 if part == 0 else 1  # 1 + difference from the bound before
        bound = "0000" if part == 7 else bytes([time, 1, 2 * part + 2]).hex()
        expected += bound + "01" + fingerprint.hex()
    assert message.hex() == expected


def test_an_answer_lists_ours_where_theirs_differ_and_skips_where_not() -> None:
    ours = ItemSet([(1, b"\x01" * 32), (2, b"\x02" * 32)])
    writer = Writer()
    writer.write(Range((2).to_bytes(8, "big") + bytes(32), [b"\x01" * 32]))
    writer.write(Range(INFINITY, [b"\x03" * 32]))
    assert respond(ours, bytes(writer.data)).hex() == "61" + "0300" + "00" + "0000" + "02" + "01" + "02" * 32
    writer = Writer()
    writer.write(Range(INFINITY, ours.fingerprint(0, 2)))
    assert respond(ours, bytes(writer.data)) == b"\x61"


def test_fingerprint_sums_wrap_at_2_to_the_256() -> None:
    items = ItemSet([(0, b"\xff" * 32), (1, b"\x02" + bytes(31))])
    total = (2**256 - 1 + 2) % 2**256
    assert items.fingerprint(0, 2) == hashlib.sha256(total.to_bytes(32, "little") + b"\x02").digest()[:16]
    many = ItemSet([(0, i.to_bytes(32, "little")) for i in range(200)])
    content = sum(range(200)).to_bytes(32, "little") + b"\x81\x48"
    assert many.fingerprint(0, 200) == hashlib.sha256(content).digest()[:16]


@pytest.mark.parametrize(
    ("value", "data"),
    [(0, "00"), (127, "7f"), (128, "8100"), (16383, "ff7f"), (16384, "818000"), (2**32, "9080808000")],
)
def test_numbers(value: int, data: str) -> None:
    assert number(value).hex() == data


BOUNDS = st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES).filter(lambda bound: bound < INFINITY)


@given(first=BOUNDS, second=BOUNDS, shared=st.integers(0, KEY_BYTES - 1))
def test_the_shortest_bound_parts_two_items(first: bytes, second: bytes, shared: int) -> None:
    before, after = sorted((first, first[:shared] + second[shared:]))
    if before == after:
        return
    bound = shortest_bound(before, after)
    assert before < bound <= after
    used = bound.rstrip(b"\x00")
    assert after[: len(used)] == used
    assert len(used) <= 8 or before[: len(used) - 1] == after[: len(used) - 1]


CONTENTS = st.one_of(
    st.none(),
    st.binary(min_size=16, max_size=16),
    st.lists(st.binary(min_size=32, max_size=32), max_size=4, unique=True),
)


@given(
    bounds=st.lists(BOUNDS | st.just(INFINITY), max_size=6, unique=True).map(sorted),
    contents=st.lists(CONTENTS, min_size=6),
)
def test_messages_round_trip(bounds: list[bytes], contents: list[bytes | list[bytes] | None]) -> None:
    ranges = [Range(bound, content) for bound, content in zip(bounds, contents, strict=False)]
    writer = Writer()
    for one in ranges:
        writer.write(one)
    assert parse(bytes(writer.data)) == ranges


@pytest.mark.parametrize(
    ("message", "why"),
    [
        ("", "1 to"),
        ("6105", "inside"),
        ("61050000050000" + "00", "inside"),
        ("610003aabbcc00", "infinity has no id"),
        ("610521" + "aa" * 33 + "00", "names 33 bytes"),
        ("61000003", "unknown mode 3"),
        ("6100000181", "inside"),
        ("610000", "inside"),
        ("6100000000000000", "behind infinity"),
        ("6105018000" + "01017000", "ascending"),
        ("61800500", "longer than it needs"),
        ("61" + "ff" * 10 + "7f", "more than 64 bits"),
        ("61" + "81ffffffffffffffff7f" + "0000" + "020000", "epoch of more than 64 bits"),
        ("61000002ffffffff7f", "inside"),
        ("61000002" + "02" + "aa" * 64, "twice"),
    ],
)
def test_messages_that_break_the_format_are_refused(message: str, why: str) -> None:
    data = bytes.fromhex(message)
    with pytest.raises(InvalidMessage, match=why):
        parse(data)
    with pytest.raises(InvalidMessage, match=why):
        respond(ItemSet([]), data)
    with pytest.raises(InvalidMessage, match=why):
        Reconciler(ItemSet([])).reconcile(data)


def test_a_message_has_a_largest_size() -> None:
    with pytest.raises(InvalidMessage, match="not 4194305"):
        parse(bytes([VERSION]) + bytes(MAX_MESSAGE_BYTES))


def test_other_versions_are_answered_with_ours_and_end_a_talk() -> None:
    assert respond(ItemSet([]), b"\x62 whatever that means") == b"\x61"
    with pytest.raises(UnknownVersion):
        respond(ItemSet([]), b"\x51")
    with pytest.raises(UnknownVersion) as refused:
        Reconciler(ItemSet([])).reconcile(b"\x60")
    assert refused.value.version == 0x60


SOME = [item(seed) for seed in range(300)]
SEALED = ItemSet(SOME)


@settings(max_examples=400)
@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda tail: b"\x61" + tail))
def test_arbitrary_bytes_are_answered_or_refused_with_our_error(message: bytes) -> None:
    with contextlib.suppress(InvalidMessage):
        assert len(respond(SEALED, message, MIN_FRAME_LIMIT)) <= MIN_FRAME_LIMIT
    with contextlib.suppress(InvalidMessage):
        reply = Reconciler(SEALED, MIN_FRAME_LIMIT).reconcile(message).reply
        assert reply is None or len(reply) <= MIN_FRAME_LIMIT


@settings(max_examples=300, deadline=None)
@given(data=st.data(), theirs=st.integers(0, 600))
def test_changed_messages_are_answered_or_refused_with_our_error(data: st.DataObject, theirs: int) -> None:
    """Messages that are nearly right reach further into the code than random ones."""
    talk = Talk(SOME, [item(seed) for seed in range(150, 150 + theirs)])
    message = bytearray(data.draw(st.sampled_from(talk.messages)))
    for _ in range(data.draw(st.integers(1, 4))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(InvalidMessage):
        assert len(respond(SEALED, bytes(message), MIN_FRAME_LIMIT)) <= MIN_FRAME_LIMIT
    with contextlib.suppress(InvalidMessage):
        reply = Reconciler(SEALED, MIN_FRAME_LIMIT).reconcile(bytes(message)).reply
        assert reply is None or len(reply) <= MIN_FRAME_LIMIT


@pytest.mark.parametrize("wrong", [(-1, bytes(32)), (MAX_EPOCH + 1, bytes(32)), (2**64, bytes(32)), (1, bytes(31))])
def test_what_is_not_an_item_is_the_callers_mistake(wrong: Item) -> None:
    with pytest.raises(ValueError, match=r"an epoch is|an id has"):
        ItemSet([wrong])


def test_an_item_counts_once_and_has_one_epoch() -> None:
    assert len(ItemSet([(1, bytes(32)), (1, bytes(32))])) == 1
    with pytest.raises(ValueError, match="one epoch"):
        ItemSet([(1, bytes(32)), (2, bytes(32))])


def test_a_frame_limit_too_small_to_get_on_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 4096"):
        Reconciler(ItemSet([]), 4095)
    with pytest.raises(ValueError, match="at least 4096"):
        respond(ItemSet([]), b"\x61", 4095)
