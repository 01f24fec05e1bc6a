"""The logs that vectors are about: together they show every reason to void an entry and every end of a task."""

from collections.abc import Iterator

from msgspec.structs import replace

from protocol import cbor, epochs, governance
from protocol.envelope import seal
from protocol.failures import Failure
from protocol.messages import (
    Appeal,
    Attestation,
    Ballot,
    BenchmarkChange,
    BenchmarkDefinition,
    Commitment,
    ParameterChange,
    Profile,
    Proposal,
    Rating,
    Registration,
    Result,
    Revocation,
    TrackChange,
)
from protocol.stamps import find_stamp
from tests.vectors.envelopes import BENCHMARK, of_unknown_kind
from tests.vectors.files import Input, sha
from tests.vectors.log_writing import LIE, Finding, LogWriter, key
from tests.vectors.networks import (
    ATTESTER,
    AUDITED,
    CHAIN,
    GENESIS,
    LARGE,
    LONG,
    LONG_CHAIN,
    NEWER,
    RECOVERABLE,
    RECOVERY_KEY,
    STAMPED,
    base,
)

NAMES = ("ann", "ben", "cat")
EIGHT = tuple(f"p{number}" for number in range(8))


def logs() -> Iterator[tuple[str, Input]]:
    """Name and input of every log."""
    yield "two epochs of work, and a registration that they pay", earning()
    yield "entries out of place", out_of_place()
    yield "an outage: a leaderless epoch, then a lie and a missed reveal", outage()
    yield "an outage that work pauses in, epochs of which nobody spoke, and late reveals", late()
    yield "every end of a task, and what comes after it", ends()
    yield "a model that fails three times, and its second registration", dormant()
    yield "attestations and stamps: a fifth of the slots, one rank", stamped()
    yield "attestations are corrected and not said again", corrected()
    yield "log keys that follow each other", successions()
    yield "a network of a newer version", newer()
    yield "audits of all that is done", audits()
    yield "appeals, and a task that they contradict", appeals()
    yield "ratings and ballots: the latest of a person, one an epoch", opinions()
    yield "a proposal is adopted, another is not", adoption()
    yield "what a registration costs, and why it does not count", prices()


def earning() -> Input:
    log = LogWriter()
    log.join(*NAMES)
    log.mark(0)
    log.say("ann", Registration(base("two"), 0))  # nothing is DONE yet: free
    log.work(0, *NAMES)
    log.mark(1)
    log.say("ben", Registration(base("three"), 1))  # spends the one result that is earned
    log.say("ben", Registration(base("four"), 1))  # void: nothing is left
    log.work(1, "ben", "cat")
    log.mark(2)
    return log.given()


def out_of_place() -> Input:
    log = LogWriter()
    log.join("ann")
    log.log(log.delegation("ann"))  # belongs to an account already
    log.log(of_unknown_kind(log.genesis.id))
    log.say("ben", Profile(0, 1, 1, ()))  # no delegation
    log.say("ann", Registration(base("two"), 0))  # before the first mark
    log.mark(0, preimage=CHAIN[1])  # not the next preimage
    log.mark(0, state=sha("another state"))
    log.mark(0, signer=key("device", "ann"))
    log.mark(0, version=0)
    log.mark(0)
    log.mark(0)  # the same epoch again
    log.say("ann", Profile(0, 4096, 8192, ("cpu",)))  # the same envelope again
    log.say("ann", Profile(0, 1024, 1024, ("cpu",)))  # two of one epoch
    log.say("ann", Profile(25, 4096, 8192, ("cpu",)))  # work pauses before
    attested = Attestation(key("account", "ann").public, sha("person"), 0)
    log.say("ann", attested)  # not an attester
    log.log(seal(ATTESTER, GENESIS.id, attested))
    log.say("ann", Registration(base("one"), 0))  # on the board already
    log.say("ann", Commitment(0, sha("ground"), (sha("task"),), sha("digest")))  # another ground
    log.say("ann", Commitment(0, log.plan(0).ground, (sha("task"),), sha("digest")))  # no such task
    log.say("ann", Commitment(99, sha("ground"), (sha("task"),), sha("digest")))  # no such epoch
    revocation = seal(key("account", "ann"), GENESIS.id, Revocation(key("device", "ann").public))
    log.log(revocation, revocation)
    log.log(log.delegation("ann"))  # a revoked device belongs to nobody
    return log.given()


def outage() -> Input:
    log = LogWriter()
    log.join(*NAMES)
    log.mark(0)
    log.work(1, *NAMES)  # leaderless
    log.mark(3)
    log.work(3, *NAMES, finds={"cat": LIE}, silent=("ben",))
    log.mark(4)
    return log.given()


def late() -> Input:
    log = LogWriter()
    log.join(*NAMES, "dan")
    log.mark(0)
    (missing,) = log.work(0, *NAMES, "dan", silent=("dan",))
    (forgotten,) = log.work(2, *NAMES, "dan", silent=("ann",))  # leaderless: nobody is set back
    log.mark(30)  # closes 0 to 24; nobody works from 25 to 29
    message = missing.message
    assert isinstance(message, Result)
    log.live(*NAMES, "dan", epoch=30)
    log.say("dan", replace(message, ground=sha("another")))
    log.say("dan", replace(message, commitment=sha("another")))
    log.say("dan", replace(message, salt=sha("another")))  # does not open it
    log.mark(31)  # dan is set back, and ranked behind all others
    log.live(*NAMES, "dan", epoch=31)
    log.log(missing, missing)  # late, which lifts it; nothing is left to open
    log.mark(32)
    log.log(forgotten)  # the second close after its own is over
    return log.given()


def ends() -> Input:
    """Disputed with K = 3, then 4, then given up; expired, and waiting."""
    log = LogWriter()
    log.join(*EIGHT)
    log.mark(0)
    for epoch, names in ((0, EIGHT), (1, EIGHT), (2, ()), (3, EIGHT[:4])):
        if names:
            camps = {name: Finding(camp=f"camp {number % 3}") for number, name in enumerate(_ranked(log, epoch))}
            commitments, results = log.statements(epoch, *names, finds=camps)
            log.log(*commitments.values(), *results.values())
        log.live(*EIGHT, epoch=epoch + 1)
        log.mark(epoch + 1)
    log.mark(5)  # there was no sign of life
    log.mark(6)  # and nobody to ask
    return log.given()


def _ranked(log: LogWriter, epoch: int) -> list[str]:
    """Who has a rank in the epoch's only task, in order."""
    (task,) = log.plan(epoch).tasks.values()
    names = {key("account", name).public: name for name in EIGHT}
    return [names[account] for account in task.ranking]


def dormant() -> Input:
    log = LogWriter(replace(GENESIS, models=(base("one"), base("two"))))
    log.join(*NAMES)
    two = base("two").id

    def finds(task: object, name: str) -> Finding:
        return Finding(failure=Failure.MODEL_REFUSED) if getattr(task, "subject").model == two else Finding()  # noqa: B009

    log.mark(0)
    for epoch in range(3):
        log.work(epoch, *NAMES, finds=finds)
        log.mark(epoch + 1)
    log.say("ann", Registration(base("two"), 3))
    log.live(*NAMES, epoch=4)
    log.mark(4)
    return log.given()


def stamped() -> Input:
    log = LogWriter(STAMPED)
    for name in EIGHT:
        log.log(log.delegation(name))
        if name < "p5":
            log.attest(name, name)
            log.live(name, epoch=0)
    log.live("p5", epoch=0)  # no stamp
    for name in ("p5", "p6", "p7"):
        stamp = find_stamp(log.genesis.id, key("device", name).public, 0, 1)
        log.say(name, Profile(0, 4096, 8192, ("cpu",), stamp))
    log.say("p5", Profile(1, 4096, 8192, ("cpu",), stamp))  # another's, of another epoch
    log.attest("p1", "p0", sequence=1)  # one person has two accounts
    log.mark(0)
    log.work(0, *EIGHT)
    log.mark(1)
    return log.given()


def corrected() -> Input:
    log = LogWriter()
    log.join(*NAMES)
    log.attest("ann", "one")
    log.attest("ann", "two", sequence=3)
    log.attest("ann", "one")  # what was corrected, again
    log.attest("ann", "three", sequence=3)
    log.attest("ann", "one", sequence=2)
    log.mark(0)
    return log.given()


def successions() -> Input:
    log = LogWriter(RECOVERABLE)
    log.join("ann")
    second, third, fourth = (key("log key", number) for number in (2, 3, 4))
    chains = [epochs.hash_chain(sha("chain", number), 2) for number in (2, 3, 4)]
    log.mark(0)
    log.succeed(second, chains[0], 1, signer=key("account", "ann"))  # not the log's to give
    log.succeed(second, chains[0], 2)  # the first is missing
    log.succeed(second, chains[0], 1)
    log.mark(1)  # the old key's
    log.mark(1, chains[0][0], signer=second)
    log.succeed(third, chains[1], 2, signer=RECOVERY_KEY)
    log.succeed(third, chains[1], 2, signer=RECOVERY_KEY)  # once
    log.succeed(second, chains[0], 1)  # long replaced
    log.mark(2, chains[1][0], signer=third)
    log.mark(3, chains[1][1], signer=third)
    log.mark(4, chains[1][1], signer=third)  # the chain is at its end
    log.succeed(fourth, chains[2], 3, signer=third)
    log.mark(4, chains[2][0], signer=fourth)
    log.mark(5, chains[2][1], signer=fourth, version=99)  # which nobody has adopted
    last = epochs.hash_chain(sha("chain", 5), 1)
    log.succeed(fourth, last, 4, signer=fourth)  # renewed in time: it begins behind the next mark
    log.mark(5, last[0], signer=fourth)
    log.mark(5, chains[2][1], signer=fourth)
    log.mark(6, last[0], signer=fourth)
    return log.given()


def newer() -> Input:
    log = LogWriter(NEWER)
    log.join("ann")
    log.mark(0)
    return log.given()


def audits() -> Input:
    log = LogWriter(AUDITED)
    log.join(*EIGHT)
    log.mark(0)
    for epoch, outcomes in ((0, (1000, 1000)), (1, (0, 0)), (2, (0, 0))):
        finding = Finding(outcomes)
        log.work(epoch, *EIGHT, finds=dict.fromkeys(EIGHT, finding))
        log.live(*EIGHT, epoch=epoch + 1)
        log.mark(epoch + 1)
    return log.given()


def appeals() -> Input:
    log = LogWriter(LARGE)
    log.join(*EIGHT)
    log.mark(0)
    log.work(0, *EIGHT, finds=dict.fromkeys(EIGHT, Finding((1000, 1000))))
    log.live(*EIGHT, epoch=1)
    log.mark(1)
    first, second = (final.task for final in log.state.verdicts[-1])
    log.join("new", epoch=1)
    log.say("new", Appeal(1, first))  # has not the tier
    log.say("stranger", Appeal(1, first))
    log.say("p0", Appeal(99, first), Appeal(1, sha("no task")), Appeal(1, first), Appeal(1, first, sha("again")))
    log.attest("p0", "one")
    log.attest("p1", "one")
    log.say("p1", Appeal(1, first))  # the same person
    log.say("p2", Appeal(1, first), Appeal(1, second))
    log.live(*EIGHT, epoch=2)
    log.mark(2)  # room for one
    everybody = (*EIGHT, "new")

    def finds(task: object, name: str) -> Finding:
        return Finding((0, 0)) if getattr(task, "looks_at") else Finding((1000, 1000))  # noqa: B009

    for epoch in (2, 3):
        log.work(epoch, *everybody, finds=finds)
        log.live(*everybody, epoch=epoch + 1)
        log.mark(epoch + 1)
    log.say("p3", Appeal(4, first))  # superseded
    return log.given()


def opinions() -> Input:
    log = LogWriter(LARGE)
    log.join(*NAMES, "dan")
    log.mark(0)
    log.work(0, *NAMES)
    log.live("dan", epoch=1)
    log.mark(1)
    model, track = base("one").id, BENCHMARK.track
    log.say("dan", Rating(1, model, track, 5))  # has not the tier
    log.say("ann", Rating(1, sha("no model"), track, 5), Rating(1, model, "no-track", 5))
    log.say("ann", Rating(1, model, track, 5), Rating(1, model, track, 1))  # one an epoch
    log.say("ann", Rating(2, model, track, 4), Rating(1, model, track, 5))  # the latest
    log.say("ben", Rating(1, model, track, 2))
    change = ParameterChange("tasks_max", 9)
    log.say("dan", Proposal(1, parameter=change), BenchmarkDefinition(BENCHMARK))  # has not the tier
    log.say("ann", Proposal(1, parameter=ParameterChange("tasks_max", 101)))
    log.say("ann", Proposal(1, parameter=ParameterChange("quorum", 2)))
    log.say("ann", Proposal(1, benchmark=BenchmarkChange(sha("no benchmark"), True)))
    log.say("ann", Proposal(1, track=TrackChange("sums", (sha("no benchmark"),))))
    log.say("ann", BenchmarkDefinition(BENCHMARK))  # known from the genesis
    made = log.seal("ann", Proposal(1, parameter=change))
    log.log(made, made)
    log.say("ann", Proposal(1, parameter=replace(change, value=10)))  # one is open
    log.say("ann", Ballot(1, sha("no proposal"), True), Ballot(1, made.id, True), Ballot(1, made.id, False))
    log.say("ann", Ballot(2, made.id, False))
    log.say("dan", Ballot(1, made.id, True))
    log.attest("ben", "one")
    log.attest("cat", "one")
    log.say("ben", Ballot(1, made.id, True))
    log.say("cat", Ballot(1, made.id, True))  # who is whose was frozen
    log.say("ben", Rating(1, model, track, 3))  # the person's; what the account said before is not shown
    log.attest("cat", "two", sequence=1)
    log.mark(2)
    return log.given()


def adoption() -> Input:
    log = LogWriter(LONG, LONG_CHAIN)
    four = (*NAMES, "dan")
    log.join(*four)
    log.mark(0)
    log.work(0, *four)
    log.mark(1)
    other = replace(BENCHMARK, name="another")
    log.say("ann", BenchmarkDefinition(other))
    changes = (
        Proposal(1, parameter=ParameterChange("tasks_max", 3)),
        Proposal(1, benchmark=BenchmarkChange(other.id, True)),
        Proposal(1, track=TrackChange("both", (BENCHMARK.id,))),
        Proposal(1, parameter=ParameterChange("tasks_max", 100)),
    )
    made = [log.seal(name, change) for name, change in zip(four, changes, strict=True)]
    log.log(*made)
    for name in four:  # all are for the first three, and one of four is for the last
        log.say(name, *(Ballot(1, one.id, one is not made[3] or name == "ann") for one in made))
    end = governance.VOTING + governance.NOTICE
    for epoch in range(2, end + 2):
        log.mark(epoch)
        if epoch == governance.VOTING + 2:
            log.say("ann", Ballot(epoch, made[0].id, False))  # its vote is over
    shown = [1, 2, governance.VOTING + 1, governance.VOTING + 2, end + 1, end + 2]
    return log.given(shown=shown)


def prices() -> Input:
    log = LogWriter()
    log.join(*NAMES, "dan")
    everybody = [key("account", name).public.hex() for name in (*NAMES, "stranger")]
    log.mark(0)
    for epoch in range(3):
        log.work(epoch, *NAMES, silent=("cat",) if epoch else ())
        log.mark(epoch + 1)
    two = base("two")
    same = replace(two, base=replace(two.base, sha256=sha("same repository")))
    log.say("ann", Registration(two, 1), Registration(two, 28), Registration(two, 3))
    log.say("ann", Registration(base("three"), 3), Registration(same, 3))  # earned one result more than it takes
    log.say("ben", Registration(two, 3), Registration(same, 3))  # another person may
    log.say("cat", Registration(base("five"), 3))  # earned one, and two are needed
    models = [cbor.encode(model).hex() for model in (two, same, base("six"))]
    return log.given(asked=[{"account": account, "model": model} for account in everybody for model in models])
