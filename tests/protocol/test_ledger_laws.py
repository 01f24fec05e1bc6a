"""Laws of the fold, over logs in which anybody says anything at any time."""

from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from msgspec.structs import replace

from protocol import ledger
from protocol.definitions import HubFile, Model
from protocol.envelope import Envelope, seal
from protocol.lifecycle import TaskState
from protocol.merkle import Frontier
from protocol.messages import (
    Appeal,
    Attestation,
    Ballot,
    Claim,
    Commitment,
    Mark,
    Message,
    ParameterChange,
    Profile,
    Proposal,
    Rating,
    Registration,
    Result,
    Revocation,
)
from protocol.parameters import DEMO, Bound
from protocol.rejections import Rejection
from protocol.state import Account, State

World = Any  # the class of conftest.py, which tests cannot import
NewWorld = Callable[..., World]
PARAMETERS = replace(DEMO, quick_depth=2, standard_depth=2, comprehensive_depth=2, audit_share=300, leaderless_max=3)
PEOPLE = tuple(f"p{number}" for number in range(11))
RICH = PEOPLE[:2]
"""Have the tier for everything from the start."""
NAMES = st.sampled_from((*PEOPLE, "eve"))
EPOCHS = st.sampled_from((0, 0, 0, 0, 0, -1, -2, 1, 5))
"""From the opened epoch on."""


def everything(state: State, *, late: bool = False) -> tuple[object, ...]:
    """All that later entries or readers may depend on but the log itself; without missed reveals, if `late`."""
    gathered = {
        epoch: (
            {task: dict(said) for task, said in where.statements.items() if said},
            {account: dict(mine) for account, mine in where.committed.items() if mine},
            {account: dict(mine) for account, mine in where.revealed.items() if mine},
        )
        for epoch, where in state.gatherings.items()
    }
    waiting = {epoch: {key: dict(left) for key, left in kept.waiting.items()} for epoch, kept in state.closed.items()}
    standings = {
        subject: (tuple(known.works), frozenset(known.superseded), known.newest)
        for subject, known in state.standings.items()
    }
    accounts = dict(state.accounts)
    digest, frontier = b"", state.frontier
    if late:
        accounts = {key: replace(account, missed={}) for key, account in accounts.items()}
    else:
        state.frontier = Frontier()
        digest = state.digest()
        state.frontier = frontier
    return (
        digest,
        accounts,
        {epoch: parts for epoch, parts in gathered.items() if any(parts)},
        {} if late else waiting,
        tuple(state.verdicts),
        dict(state.recent),
        standings,
        state.opening,
        state.last_closed,
        state.head,
        state.halted,
        dict(state.devices),
        dict(state.turns),
        dict(state.pools),
    )


def of_tasks(state: State) -> dict[bytes, Mapping[bytes, object]]:
    """What was said of each task of the open epochs, by account."""
    return {task: dict(said) for where in state.gatherings.values() for task, said in where.statements.items() if said}


class Logs(RuleBasedStateMachine):
    """A log grows by whatever comes; what each entry did to the state is compared with what it may do."""

    new_world: NewWorld

    @initialize()
    def begin(self) -> None:
        bounds = (Bound("tasks_max", 1, 100),)
        self.world = self.new_world(models=2, parameters=PARAMETERS, bounds=bounds)
        self.world.join(*PEOPLE)
        for name in RICH:
            key = self.world.account(name).public
            self.world.state.accounts[key] = Account(0, credit=10_000, judged=10, agreed=10)
        self.start = len(self.world.entries)
        self.world.join(*RICH)
        self.works: dict[Any, list[bytes]] = {}
        self.said: list[Envelope] = []
        self.log(self.mark_of(0))

    @property
    def state(self) -> State:
        found: State = self.world.state
        return found

    @property
    def opened(self) -> int:
        assert self.state.opening is not None
        return self.state.opening.epoch

    def mark_of(self, epoch: int) -> Envelope:
        message = ledger.next_mark(self.state, epoch, self.world.chain[self.state.marks])
        return seal(self.world.log_key, self.world.genesis.id, message)

    def log(self, envelope: Envelope) -> None:
        before, tasks, finals = everything(self.state), of_tasks(self.state), dict(self.state.recent)
        without_missed, size = everything(self.state, late=True), self.state.frontier.size
        void = self.world.log(envelope)
        assert self.state.frontier.size == size + 1, "every entry lengthens the log"
        if void is Rejection.VOID_LATE:
            assert everything(self.state, late=True) == without_missed, "it lifts the setback and does no more"
        elif void is not None:
            assert everything(self.state) == before, f"a void entry changes nothing ({void})"
        if isinstance(envelope.message, Mark) and void is None:
            self.check_mark(finals)
            return
        assert self.state.opening is before[7], "only marks say what is to be done"
        named = set()
        if isinstance(envelope.message, Commitment):
            named = set(envelope.message.tasks)
        elif isinstance(envelope.message, Result):
            named = {result.task for result in envelope.message.tasks}
        after = of_tasks(self.state)
        changed = {task for task in tasks.keys() | after.keys() if tasks.get(task) != after.get(task)}
        assert changed <= named, "no envelope changes a task that it does not concern"
        assert dict(self.state.recent) == finals, "only a mark makes verdicts final"

    def check_mark(self, finals: Mapping[bytes, object]) -> None:
        for task, final in self.state.recent.items():
            assert finals.get(task, final) == final, "a final verdict is never computed again"
        for subject, standing in self.state.standings.items():
            works = [work.task for work in standing.works]
            known = self.works.get(subject, [])
            assert works[: len(known)] == known, "what was DONE stays on record"
            assert standing.superseded <= set(works)
            self.works[subject] = works
        assert all(final.state not in (TaskState.QUEUED, TaskState.RUNNING) for final in self.state.recent.values())

    def say(self, name: str, message: Message) -> None:
        envelope = self.world.seal(name, message)
        self.said.append(envelope)
        self.log(envelope)

    @rule(ahead=st.integers(1, 5))
    def a_mark(self, ahead: int) -> None:
        if self.state.marks < 12:
            for name in PEOPLE[:8]:
                self.say(name, Profile(self.opened, 4096, 1024, ("cpu",)))
            self.log(self.mark_of(self.opened + ahead))

    @rule(changes=st.sampled_from(({"state": bytes(32)}, {"preimage": bytes(32)}, {"version": 2}, {"epoch": 0})))
    def a_wrong_mark(self, changes: dict[str, Any]) -> None:
        mark = ledger.next_mark(self.state, self.opened + 1, self.world.chain[self.state.marks])
        self.log(seal(self.world.log_key, self.world.genesis.id, replace(mark, **changes)))

    @rule(ahead=st.sampled_from((0, 0, 1)))
    def everybody_works(self, ahead: int) -> None:
        commitments, results = self.world.statements(self.world.plan(self.opened + ahead), PEOPLE)
        self.said += commitments + results
        for envelope in commitments + results:
            self.log(envelope)
        if not ahead:
            self.a_mark(1)

    @rule(names=st.sets(NAMES, min_size=3), ahead=st.sampled_from((0, 0, 0, 1, 3)), data=st.data())
    def work(self, names: set[str], ahead: int, data: st.DataObject) -> None:
        """In any order, some of it never; what is left out may come as an old word."""
        epoch = self.opened + ahead
        plan = self.world.plan(epoch)
        camps = {name: data.draw(st.sampled_from(("", "", "", "another"))) for name in sorted(names)}
        commitments, results = self.world.statements(plan, sorted(names), camps)
        order = data.draw(st.permutations(commitments + results))
        kept = data.draw(st.integers(0, len(order)))
        self.said += order
        for envelope in order[: max(kept, len(order) - 2)]:
            self.log(envelope)

    @rule(data=st.data())
    def old_words(self, data: st.DataObject) -> None:
        if self.said:
            self.log(data.draw(st.sampled_from(self.said)))

    @rule(left_out=st.sampled_from(PEOPLE), marks=st.integers(1, 3))
    def one_reveals_late(self, left_out: str, marks: int) -> None:
        commitments, results = self.world.statements(self.world.plan(self.opened), PEOPLE)
        late = self.world.device(left_out).public
        for envelope in (*commitments, *(result for result in results if result.signer != late)):
            self.log(envelope)
        for _ in range(marks):
            self.a_mark(1)
        for envelope in results:
            self.log(envelope)

    @rule(name=NAMES, ahead=EPOCHS)
    def a_profile_or_a_claim(self, name: str, ahead: int) -> None:
        epoch = max(0, self.opened + ahead)
        self.say(name, Profile(epoch, 4096, 1024, ("cpu",)))
        self.log(self.world.seal(name, Claim(epoch, 0, ())))

    @rule(name=NAMES, number=st.integers(0, 3), ahead=EPOCHS)
    def a_registration(self, name: str, number: int, ahead: int) -> None:
        file = HubFile(f"new/model{number % 2}", "1" * 40, "new.gguf", bytes([number]) * 32, 1000)
        self.say(name, Registration(Model(file, (), "llama", 1000, "F16", "MIT"), max(0, self.opened + ahead)))

    @rule(name=st.sampled_from(RICH), data=st.data())
    def an_opinion(self, name: str, data: st.DataObject) -> None:
        """A rating, an appeal, a proposal or a ballot, of things that there are or not."""
        epoch = max(0, self.opened + data.draw(EPOCHS))
        model = data.draw(st.sampled_from((*self.state.models, bytes(32))))
        task = data.draw(st.sampled_from((*self.state.recent, bytes(32))))
        motion = data.draw(st.sampled_from((*self.state.motions, bytes(32))))
        messages: tuple[Message, ...] = (
            Rating(epoch, model, data.draw(st.sampled_from(("maths", "none"))), 3),
            Appeal(epoch, task),
            Proposal(epoch, parameter=ParameterChange(data.draw(st.sampled_from(("tasks_max", "pool"))), 9)),
            Ballot(epoch, motion, data.draw(st.booleans())),
        )
        self.say(name, data.draw(st.sampled_from(messages)))

    @rule(name=NAMES, person=st.sampled_from("xy"), sequence=st.integers(0, 2), attester=st.booleans())
    def an_attestation(self, name: str, person: str, sequence: int, attester: bool) -> None:
        message = Attestation(self.world.account(name).public, person.encode() * 32, sequence)
        self.log(seal(self.world.attester if attester else self.world.log_key, self.world.genesis.id, message))

    @rule(name=NAMES, other=NAMES, takes_back=st.booleans())
    def a_device_comes_or_goes(self, name: str, other: str, takes_back: bool) -> None:
        if not takes_back:
            self.log(self.world.delegation(name))
        elif name not in PEOPLE[:8]:
            message = Revocation(self.world.device(other).public)
            self.log(seal(self.world.account(name), self.world.genesis.id, message))

    def teardown(self) -> None:
        """Entry by entry and all at once come to the same bytes."""
        if not hasattr(self, "works"):
            return
        again = ledger.begin(self.world.genesis)
        for place, entry in enumerate(self.world.entries):
            if place == self.start:
                for name in RICH:
                    key = self.world.account(name).public
                    again.accounts[key] = Account(0, credit=10_000, judged=10, agreed=10)
            assert ledger.append(again, entry) is self.world.voids[place]
        assert again.digest() == self.state.digest()
        assert everything(again) == everything(self.state)


def test_what_an_entry_may_do_to_the_state(new_world: NewWorld) -> None:
    class Here(Logs):
        pass

    Here.new_world = staticmethod(new_world)
    run_state_machine_as_test(Here, settings=settings(max_examples=20, stateful_step_count=30, deadline=None))
