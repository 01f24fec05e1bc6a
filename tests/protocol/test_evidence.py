"""Evidence: what it takes to show a stranger, with the genesis alone, that the log key did wrong; and nothing less."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from protocol import cbor, ledger
from protocol.checkpoint import Checkpoint, sign_checkpoint
from protocol.envelope import Envelope, seal
from protocol.evidence import (
    EVIDENCE,
    MAX_BYTES,
    Branch,
    Divergence,
    Evidence,
    EvidenceKind,
    Fork,
    Omission,
    SecondMark,
    UntimelyMark,
    WrongState,
    decode_evidence,
    encode_evidence,
)
from protocol.evidence_checks import Finding, verify_evidence
from protocol.genesis import Genesis
from protocol.merkle import Frontier, consistency_proof, inclusion_proof, leaf_hash
from protocol.messages import Succession, succession_consent
from protocol.notes import SignerKey
from protocol.receipts import issue
from protocol.rejections import Rejected, Rejection
from protocol.signing import PrivateKey
from protocol.witnesses import sign_sighting
from tests.protocol.message_values import values

World = Any  # the class of conftest.py, which tests cannot import
NewWorld = Callable[..., World]
WITNESSES = tuple(PrivateKey(bytes((n,)) * 32) for n in range(1, 6))
OTHER_KEY = PrivateKey(b"o" * 32)
NEW_KEY = PrivateKey(b"n" * 32)


class Tree:
    """A log of these entries, and what can be shown of it."""

    def __init__(self, genesis: Genesis, key: PrivateKey, entries: list[bytes]) -> None:
        self.entries = entries
        self._leaves = [leaf_hash(entry) for entry in entries]
        self._signer = SignerKey(genesis.log_verifier.name, key)

    def note(self, size: int | None = None) -> bytes:
        size = len(self.entries) if size is None else size
        return sign_checkpoint(Checkpoint(self._signer.verifier.name, size, self.at(size).root), self._signer).encode()

    def at(self, size: int) -> Frontier:
        return Frontier().extend(self._leaves[:size])

    def grown(self, first: int, second: int) -> tuple[bytes, ...]:
        return consistency_proof(self._node, first, second)

    def branch(self, size: int, of: int | None = None) -> Branch:
        of = len(self.entries) if of is None else of
        return Branch(self.grown(size, of), self._leaves[size], inclusion_proof(self._node, size, of))

    def _node(self, level: int, index: int) -> bytes:
        return Frontier().extend(self._leaves[index << level : (index + 1) << level]).root


@pytest.fixture(scope="module")
def world(new_world: NewWorld) -> World:
    made = new_world(models=1)
    made.genesis = replace(made.genesis, witnesses=tuple(key.public for key in WITNESSES))
    made.state = ledger.begin(made.genesis)
    made.join("ada", "ben", "cat")
    assert made.mark(0) is None
    made.join("dan", "eve")
    return made


def tree(world: World, entries: list[bytes] | None = None, key: PrivateKey | None = None) -> Tree:
    known = [entry.data for entry in world.entries]
    return Tree(world.genesis, key or world.log_key, known if entries is None else entries)


def shown(world: World, evidence: Evidence, **more: Any) -> Finding:
    data = encode_evidence(evidence)
    assert decode_evidence(data) == evidence
    found = verify_evidence(data, world.genesis, **more)
    assert found.evidence == evidence
    assert found.sentence.endswith(".")
    return found


def refused(world: World, evidence: Evidence, **more: Any) -> Rejection:
    with pytest.raises(Rejected) as error:
        verify_evidence(encode_evidence(evidence), world.genesis, **more)
    return error.value.reason


def forked(world: World, common: int, more: int = 3) -> Tree:
    """Another history of the same log key, which parts after `common` entries."""
    others = [world.seal(f"x{n}", ledger.next_mark(world.state, 9, bytes(32))).data for n in range(more)]
    return tree(world, [entry.data for entry in world.entries][:common] + others)


@given(common=st.integers(0, 9), first=st.integers(1, 3), second=st.integers(1, 3))
@settings(max_examples=30)
def test_a_fork_is_shown_where_it_parts(world: World, common: int, first: int, second: int) -> None:
    one, other = tree(world), forked(world, common)
    sizes = common + min(first, len(one.entries) - common), common + second
    where = Divergence(common, one.at(common).root, one.branch(common, sizes[0]), other.branch(common, sizes[1]))
    fork = Fork((), one.note(sizes[0]), other.note(sizes[1]), divergence=where)
    assert shown(world, fork).kind is EvidenceKind.FORK
    same = replace(where, second=where.first)
    assert refused(world, Fork((), one.note(sizes[0]), one.note(sizes[0]), divergence=same)) is Rejection.PROVES_NOTHING
    assert refused(world, replace(fork, second=fork.first)) is Rejection.PROVES_NOTHING


def test_a_fork_needs_no_common_prefix(world: World) -> None:
    one, other = tree(world), forked(world, 4, more=5)
    shown(world, Fork((), one.note(9), other.note(9)))
    grown = other.grown(7, 9)
    shown(world, Fork((), one.note(7), other.note(9), grown, prefix_root=other.at(7).root))
    assert refused(world, Fork((), one.note(7), other.note(9))) is Rejection.PROVES_NOTHING
    assert refused(world, Fork((), one.note(7), one.note(9), one.grown(7, 9), one.at(7).root)) is (
        Rejection.PROVES_NOTHING
    )
    assert refused(world, Fork((), one.note(9), forked(world, 4, 5).note(9)[:-1])) is Rejection.BAD_SIGNATURE
    stranger = tree(world, other.entries, OTHER_KEY)
    assert refused(world, Fork((), one.note(9), stranger.note(9))) is Rejection.BAD_SIGNATURE


def succession(world: World, signer: PrivateKey, key: PrivateKey) -> bytes:
    consent = key.sign(succession_consent(world.genesis.id, signer.public, key.public, bytes(32), 9, 1))
    return seal(signer, world.genesis.id, Succession(key.public, bytes(32), 9, consent, 1)).data


def test_successions_lead_from_the_genesis_to_another_log_key(world: World) -> None:
    one, other = tree(world, key=NEW_KEY), forked(world, 4, more=5)
    fork = Fork((), one.note(9), other.note(9))
    assert refused(world, fork) is Rejection.BAD_SIGNATURE
    for signer in (world.log_key, world.recovery_key):
        shown(world, replace(fork, successions=(succession(world, signer, NEW_KEY),)))
    by_way = (succession(world, world.log_key, OTHER_KEY), succession(world, OTHER_KEY, NEW_KEY))
    shown(world, replace(fork, successions=by_way))
    assert refused(world, replace(fork, successions=by_way[1:])) is Rejection.PROVES_NOTHING
    assert refused(world, replace(fork, successions=(world.entries[0].data,))) is Rejection.WRONG_SCHEMA


def omission(world: World, size: int, bound: int, envelope: bytes = bytes(32)) -> Omission:
    known = tree(world)
    receipt = issue(world.log_key, world.genesis.id, envelope, bound, size)
    grown = known.grown(bound, len(known.entries))
    return Omission((), receipt, known.note(), known.at(size).hashes, tuple(known.entries[size:bound]), grown)


@given(st.data())
@settings(max_examples=30)
def test_an_omission_is_shown_and_a_kept_promise_is_none(world: World, data: st.DataObject) -> None:
    size = data.draw(st.integers(0, len(world.entries) - 1))
    bound = data.draw(st.integers(size + 1, len(world.entries)))
    assert shown(world, omission(world, size, bound)).subject == bytes(32).hex()
    place = data.draw(st.integers(0, len(world.entries) - 1))
    kept = omission(world, size, bound, world.entries[place].id)
    if size <= place < bound:
        assert refused(world, kept) is Rejection.PROVES_NOTHING
    else:
        shown(world, kept)


def test_an_omission_needs_the_logs_own_entries(world: World) -> None:
    good = omission(world, 3, 7)
    shown(world, good)
    assert refused(world, replace(good, entries=good.entries[1:])) is Rejection.PROVES_NOTHING
    assert refused(world, replace(good, entries=good.entries[::-1])) is Rejection.PROVES_NOTHING
    assert refused(world, replace(good, entries=(*good.entries[:-1], b"garbage"))) is Rejection.PROVES_NOTHING
    assert refused(world, replace(good, before=good.before[::-1])) is Rejection.PROVES_NOTHING
    assert refused(world, replace(good, before=())) is Rejection.PROVES_NOTHING
    forged = issue(OTHER_KEY, world.genesis.id, bytes(32), 7, 3)
    assert refused(world, replace(good, receipt=forged)) is Rejection.BAD_SIGNATURE
    early = replace(good, note=tree(world).note(6))
    assert refused(world, early) is Rejection.PROVES_NOTHING, "the log has not reached the bound"


def mark(world: World, epoch: int, state: bytes = b"s" * 32, key: PrivateKey | None = None) -> Envelope:
    message = replace(ledger.next_mark(world.state, epoch, world.chain[1]), state=state)
    return seal(key or world.log_key, world.genesis.id, message)


def test_two_marks_of_one_epoch(world: World) -> None:
    first, second = mark(world, 1).data, mark(world, 1, b"t" * 32).data
    assert shown(world, SecondMark((), first, second)).subject == "1"
    assert refused(world, SecondMark((), first, first)) is Rejection.PROVES_NOTHING
    assert refused(world, SecondMark((), first, mark(world, 2).data)) is Rejection.PROVES_NOTHING
    assert refused(world, SecondMark((), first, mark(world, 1, key=OTHER_KEY).data)) is Rejection.BAD_SIGNATURE
    assert refused(world, SecondMark((), first, world.entries[0].data)) is Rejection.WRONG_SCHEMA


@pytest.mark.parametrize("behind", [0, 1, 3])
def test_a_mark_of_a_wrong_state(world: World, behind: int) -> None:
    prefix = [entry.data for entry in world.entries]
    wrong = mark(world, 1)
    log = tree(world, [*prefix, wrong.data, *(bytes((n,)) for n in range(behind))])
    size = len(prefix)
    evidence = WrongState((), log.note(), size, wrong.data, log.grown(size + 1, size + 1 + behind))
    assert shown(world, evidence, prefix=log.entries).subject == str(size)
    assert refused(world, evidence) is Rejection.PROVES_NOTHING, "the prefix is the proof"
    assert refused(world, evidence, prefix=prefix[:-1]) is Rejection.PROVES_NOTHING
    assert refused(world, evidence, prefix=prefix[1:] + prefix[:1]) is Rejection.PROVES_NOTHING
    right = mark(world, 1, ledger.next_mark(world.state, 1, bytes(32)).state)
    honest = tree(world, [*prefix, right.data])
    good = WrongState((), honest.note(), size, right.data, ())
    assert refused(world, good, prefix=prefix) is Rejection.PROVES_NOTHING


@pytest.mark.parametrize(
    ("seconds", "proves"), [(-2, "early"), (-1, None), (0, None), (5, None), (6, None), (7, "late"), (40, "late")]
)
def test_witnesses_say_when_a_mark_came(world: World, seconds: int, proves: str | None) -> None:
    """An epoch of a minute: five seconds of grace, and one that clocks may be off."""
    seen, time = mark(world, 3), world.genesis.start_of(3) + seconds
    sightings = tuple(sign_sighting(key, world.genesis.id, 3, seen.id, time) for key in WITNESSES)
    if proves is None:
        assert refused(world, UntimelyMark((), seen.data, sightings)) is Rejection.PROVES_NOTHING
        return
    assert proves in shown(world, UntimelyMark((), seen.data, sightings[:3])).sentence
    assert refused(world, UntimelyMark((), seen.data, sightings[:2])) is Rejection.PROVES_NOTHING, "no quorum"
    assert refused(world, UntimelyMark((), seen.data, sightings[:1] * 3)) is Rejection.PROVES_NOTHING
    stranger = sign_sighting(OTHER_KEY, world.genesis.id, 3, seen.id, time)
    assert refused(world, UntimelyMark((), seen.data, (*sightings, stranger))) is Rejection.BAD_SIGNATURE
    other = sign_sighting(WITNESSES[0], world.genesis.id, 3, bytes(32), time)
    assert refused(world, UntimelyMark((), seen.data, (*sightings, other))) is Rejection.PROVES_NOTHING


def some_of_each(world: World) -> list[bytes]:
    one, other = tree(world), forked(world, 4)
    where = Divergence(4, one.at(4).root, one.branch(4), other.branch(4))
    seen = mark(world, 1)
    sighting = sign_sighting(WITNESSES[0], world.genesis.id, 1, seen.id, 0)
    return [
        encode_evidence(evidence)
        for evidence in (
            Fork((succession(world, world.log_key, NEW_KEY),), one.note(), other.note(), divergence=where),
            omission(world, 3, 7),
            SecondMark((), seen.data, mark(world, 1, b"t" * 32).data),
            WrongState((), one.note(), 3, seen.data, one.grown(4, 11)),
            UntimelyMark((), seen.data, (sighting,) * 3),
        )
    ]


@given(st.data())
@settings(max_examples=150)
def test_changed_evidence_is_a_finding_or_our_error(world: World, data: st.DataObject) -> None:
    whole = bytearray(data.draw(st.sampled_from(some_of_each(world))))
    for _ in range(data.draw(st.integers(1, 3))):
        bit = data.draw(st.integers(0, 8 * len(whole) - 1))
        whole[bit // 8] ^= 1 << bit % 8
    try:
        found = verify_evidence(bytes(whole), world.genesis, [entry.data for entry in world.entries])
    except Rejected:
        return
    assert encode_evidence(found.evidence) == whole


@given(st.data())
@settings(max_examples=100)
def test_any_values_are_a_finding_or_our_error(world: World, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(EvidenceKind))
    whole = cbor.encode((int(kind), data.draw(values(EVIDENCE[kind]))))
    with pytest.raises(Rejected):
        verify_evidence(whole, world.genesis)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_with_our_error(world: World, data: bytes) -> None:
    for whole in (data, b"\x82" + data, b"\x82\x00" + data):
        with pytest.raises(Rejected):
            verify_evidence(whole, world.genesis)


def test_evidence_has_a_largest_size(world: World) -> None:
    with pytest.raises(Rejected) as error:
        verify_evidence(bytes(MAX_BYTES + 1), world.genesis)
    assert error.value.reason is Rejection.TOO_LARGE
