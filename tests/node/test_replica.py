"""What a node holds for peers that lack it, and what it does not take a second time."""

import hashlib

import pytest
import trio
import trio.testing
from msgspec.structs import replace

from node.bulletin import Bulletin, Level
from node.clock import Clock
from node.replica import EPOCHS_HELD, MOST_OF_STRANGERS, Replica
from protocol import epochs, ledger
from protocol.definitions import Benchmark, Dataset, HubFile, Model, TaskKind
from protocol.envelope import Envelope, seal
from protocol.genesis import Genesis
from protocol.messages import Attestation, Claim, Commitment, Delegation, Profile, consent_to
from protocol.overlay import PARKED
from protocol.parameters import DEMO
from protocol.rejections import Rejection
from protocol.signing import PrivateKey

CHAIN = epochs.hash_chain(b"c" * 32, 20)
LOG_KEY, ACCOUNT, DEVICE = PrivateKey(b"l" * 32), PrivateKey(b"a" * 32), PrivateKey(b"d" * 32)


def model(name: str) -> Model:
    file = HubFile("test/models", "0" * 40, f"{name}.gguf", hashlib.sha256(name.encode()).digest(), 10)
    return Model(file, (), "llama", 1000, "F16", "MIT")


def genesis() -> Genesis:
    dataset = Dataset("test/questions", "0" * 40, "main", "test", b"q" * 32, 100)
    benchmark = Benchmark("sums", 1, "maths", "en", TaskKind.CHOICE, dataset, "p/1", "s/1", 0, 0, ("1", "2"))
    parameters = replace(DEMO, norm_required=1)
    return Genesis("test", 1_800_000_000, parameters, (benchmark,), (model("m"),), LOG_KEY.public, CHAIN[-1], 20)


NETWORK = genesis().id


def delegation() -> Envelope:
    consent = DEVICE.sign(consent_to(NETWORK, ACCOUNT.public))
    return seal(ACCOUNT, NETWORK, Delegation(DEVICE.public, consent))


def profile(epoch: int) -> Envelope:
    return seal(DEVICE, NETWORK, Profile(epoch, 1024, 1024, ("cpu",)))


def mark(replica: Replica, epoch: int) -> None:
    state = replica.state
    message = ledger.next_mark(state, epoch, CHAIN[state.marks])
    assert replica.extend([seal(LOG_KEY, NETWORK, message)]) == [None]


@pytest.fixture
async def replica() -> Replica:
    return Replica(genesis(), Bulletin(Clock(1_800_000_000)))


async def test_an_envelope_is_new_once(replica: Replica) -> None:
    assert replica.take(delegation())
    assert not replica.take(delegation())
    assert [envelope.id for envelope in replica.unlogged()] == [delegation().id]


async def test_what_the_log_has_is_not_held_again(replica: Replica) -> None:
    replica.take(delegation())
    replica.extend([delegation()])
    assert not replica.take(delegation())
    assert not list(replica.unlogged())


async def test_an_epochs_envelope_stays_for_peers_after_it_is_logged(replica: Replica) -> None:
    replica.extend([delegation(), profile(0)])
    assert profile(0).id in replica.held
    assert not list(replica.unlogged())
    assert not replica.take(profile(0))


async def test_epoch_zero_is_an_epoch(replica: Replica) -> None:
    """Its envelopes are held while they may be asked for, and then forgotten like any other's."""
    replica.extend([delegation(), profile(0)])
    for epoch in range(EPOCHS_HELD + 1):
        mark(replica, epoch)
        assert profile(0).id in replica.held
        assert not replica.take(profile(0))
    mark(replica, EPOCHS_HELD + 1)
    assert profile(0).id not in replica.held
    assert not replica.take(profile(0)), "it is past: nobody needs it any more"


async def test_what_was_void_may_be_sent_again_after_the_next_mark(replica: Replica) -> None:
    replica.extend([delegation(), profile(0)])
    mark(replica, 0)
    stranger = seal(DEVICE, NETWORK, Attestation(ACCOUNT.public, b"p" * 32, 0))
    assert replica.extend([stranger]) == [Rejection.VOID_NOT_AN_ATTESTER]
    assert not replica.take(stranger)
    mark(replica, 1)
    assert replica.take(stranger)


async def test_strangers_share_what_no_stranger_can_take_from_the_others(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.replica.MOST_OF_STRANGERS", 20)
    replica.extend([delegation()])
    keys = [PrivateKey(hashlib.sha256(b"%d" % number).digest()) for number in range(30)]
    taken = [replica.take(seal(key, NETWORK, Profile(0, 1, 1, ("cpu",)))) for key in keys]
    assert taken == [True] * 20 + [False] * 10
    assert replica.take(profile(0)), "who is in the log has room all the same"
    mark(replica, 0)
    assert not replica.take(seal(keys[-1], NETWORK, Profile(1, 1, 1, ("cpu",)))), "a mark does not forget them"
    for epoch in range(1, EPOCHS_HELD + 2):
        mark(replica, epoch)
    assert replica.take(seal(keys[-1], NETWORK, Profile(EPOCHS_HELD, 1, 1, ("cpu",)))), "until their epoch is past"


async def test_strangers_do_not_crowd_out_what_waits_for_a_mark(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commitment on a ground that is not known yet is tried again when the mark comes."""
    assert MOST_OF_STRANGERS < PARKED
    monkeypatch.setattr("protocol.overlay.PARKED", 10)
    monkeypatch.setattr("node.replica.MOST_OF_STRANGERS", 9)
    replica.extend([delegation()])
    mark(replica, 0)

    def early(key: PrivateKey) -> Envelope:
        return seal(key, NETWORK, Commitment(1, b"g" * 32, (b"t" * 32,), b"d" * 32))

    assert replica.take(early(DEVICE))
    for number in range(30):
        replica.take(early(PrivateKey(hashlib.sha256(b"%d" % number).digest())))
    assert early(DEVICE).id in replica.overlay._parked


async def test_bytes_are_bounded_as_well(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(profile(0).data)
    monkeypatch.setattr("node.replica.STRANGERS_BYTES", 2 * size)
    assert [replica.take(profile(epoch)) for epoch in range(3)] == [True, True, False]
    replica.extend([delegation()])
    assert replica.take(profile(2)), "no stranger any more"
    monkeypatch.setattr("node.replica.HELD_BYTES", 4 * size)
    assert [replica.take(profile(epoch)) for epoch in range(3, 6)] == [True, False, False]


async def test_what_the_log_does_not_take_is_given_up(replica: Replica) -> None:
    """A message without an epoch would stay for ever: a stranger's could fill the room."""
    replica.take(delegation())
    for epoch in range(EPOCHS_HELD + 1):
        mark(replica, epoch)
        assert delegation().id in replica.held
    mark(replica, EPOCHS_HELD + 1)
    assert delegation().id not in replica.held
    assert replica.take(delegation()), "its author may say it again"


async def test_claims_are_shown_and_never_held(replica: Replica) -> None:
    replica.extend([delegation(), profile(0)])
    mark(replica, 0)
    assert replica.take(seal(DEVICE, NETWORK, Claim(0, 1, ())))
    assert not replica.take(seal(DEVICE, NETWORK, Claim(0, 1, ())))
    assert not [envelope for envelope in replica.held.values() if isinstance(envelope.message, Claim)]


async def test_catching_up_is_quiet_and_news_are_told(replica: Replica) -> None:
    entries = [delegation(), profile(0)]
    replica.extend(entries, quiet=True)
    message = ledger.next_mark(replica.state, 0, CHAIN[0])
    bulletin = replica._bulletin
    replica.extend([seal(LOG_KEY, NETWORK, message)], quiet=True)
    assert not bulletin.activities
    mark(replica, 1)
    assert [activity.code for activity in bulletin.activities][-1] == "EPOCH"
    assert bulletin.activities[-1].level is Level.NOTE


async def test_waiting_for_a_mark_ends_with_it(replica: Replica, autojump_clock: trio.testing.MockClock) -> None:
    seen = []

    async def wait() -> None:
        await replica.next_mark()
        seen.append(replica.marked_epoch)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        assert not seen
        mark(replica, 4)
    assert seen == [4]


@pytest.mark.parametrize("bound", ["MOST_HELD", "HELD_BYTES"])
async def test_a_long_log_without_marks_is_held_within_bounds(
    replica: Replica, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    size = len(profile(100).data)
    monkeypatch.setattr(f"node.replica.{bound}", {"MOST_HELD": 10, "HELD_BYTES": 10 * size}[bound])
    replica.extend([delegation(), *(profile(epoch) for epoch in range(100, 200))])
    assert list(replica.held) == [profile(epoch).id for epoch in range(100, 110)]
    assert replica.logged == replica.held.keys()
    assert not replica.take(profile(99))
    mark(replica, 105)
    assert list(replica.held) == [profile(epoch).id for epoch in range(103, 110)]
    replica.extend([profile(102), profile(120), profile(121)])
    assert list(replica.held)[-2:] == [profile(120).id, profile(121).id], "there is room again"


async def test_what_the_log_says_of_a_far_epoch_is_not_held(replica: Replica) -> None:
    far = 3 + DEMO.leaderless_max + 2
    replica.extend([delegation()])
    mark(replica, 3)
    replica.extend([profile(far - 1), profile(far)])
    assert list(replica.held) == [profile(far - 1).id]
    assert replica.logged == {profile(far - 1).id}
