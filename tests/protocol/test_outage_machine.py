"""The log goes away and comes back: late, early, twice; nodes that switched, had committed, or were cut off."""

from collections.abc import Callable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from msgspec.structs import replace

from protocol import ledger
from protocol.envelope import Envelope, seal
from protocol.lifecycle import TaskState
from protocol.messages import Commitment, Profile
from protocol.overlay import Overlay
from protocol.parameters import DEMO
from protocol.plan import Plan
from protocol.rejections import Rejection

World = Any  # the class of conftest.py, which tests cannot import
NewWorld = Callable[..., World]
PARAMETERS = replace(DEMO, quick_depth=2, standard_depth=2, comprehensive_depth=2, leaderless_max=24)
PEOPLE = tuple(f"p{number}" for number in range(7))
OUTAGES = (1, 1, 5, 30)


class Node:
    """One honest participant: its copy of the log, and what it holds beyond it."""

    def __init__(self, world: World, name: str) -> None:
        self.name = name
        self.world = world
        self.state = ledger.begin(world.genesis)
        self.overlay = Overlay(self.state)
        self.committed: set[int] = set()

    def follow_log(self) -> None:
        for entry in self.world.entries[self.state.frontier.size :]:
            ledger.append(self.state, entry)
        self.overlay.settle()


class Outages(RuleBasedStateMachine):
    """Hours pass; in each, whoever can evaluates. `hour` is the clock's epoch, the last mark's may be another."""

    new_world: NewWorld

    @initialize()
    def begin(self) -> None:
        self.world = self.new_world(models=1, parameters=PARAMETERS)
        self.world.join(*PEOPLE)
        self.world.mark(0)
        self.hour = 0
        self.nodes = [Node(self.world, name) for name in PEOPLE]
        self.cut_off: set[str] = set()
        self.unlogged: list[tuple[str, Envelope]] = []
        self.worked: list[tuple[Plan, tuple[str, ...]]] = []
        self.evaluate()

    def reachable(self) -> list[Node]:
        return [node for node in self.nodes if node.name not in self.cut_off]

    def evaluate(self, only: int | None = None) -> None:
        """Whoever has not committed in this hour evaluates by its own copy of the log; groups see themselves."""
        for node in self.reachable():
            node.follow_log()
        for group in (self.reachable(), [node for node in self.nodes if node.name in self.cut_off]):
            free = [node for node in group if self.hour not in node.committed][:only]
            plans = {plan.ground: plan for node in free if (plan := node.overlay.plan(self.hour))}
            for ground, plan in plans.items():
                there = [n for n in free if (own := n.overlay.plan(self.hour)) and own.ground == ground]
                self.commit_and_reveal(plan, there, group)

    def commit_and_reveal(self, plan: Plan, free: list[Node], group: list[Node]) -> None:
        names = tuple(node.name for node in free)
        commitments, results = self.world.statements(plan, names)
        authors = {self.world.device(name).public: name for name in names}
        for envelope in commitments + results:
            self.unlogged.append((authors[envelope.signer], envelope))
            for node in group:
                node.overlay.add(envelope)
        for node in free:
            node.committed.add(plan.epoch)
        self.worked.append((plan, names))

    def log_what_is_heard(self) -> None:
        """The log is there: it takes in what those who reach it hold, and what lay at home while they did not."""
        waiting = [(name, envelope) for name, envelope in self.unlogged if name not in self.cut_off]
        self.unlogged = [(name, envelope) for name, envelope in self.unlogged if name in self.cut_off]
        self.world.log(*(envelope for _, envelope in waiting))
        for name in (node.name for node in self.reachable()):
            self.world.log(self.world.seal(name, Profile(self.world.state.opening.epoch, 4096, 1024, ("cpu",))))

    def mark(self, epoch: int) -> None:
        """What was logged on the ground of an open epoch counts, where enough saw each other."""
        state = self.world.state
        expected = []
        for plan, names in self.worked:
            where = state.gatherings.get(plan.epoch)
            if where is None or where.plan.ground != plan.ground or plan.epoch >= epoch:
                continue
            for task in plan.tasks.values():
                ranked = [name for name in names if self.account(name) in task.ranking]
                logged = {a for a, said in where.statements.get(task.id, {}).items() if said.results}
                here = [name for name in ranked if self.account(name) in logged]
                if len(here) >= task.quorum and len(here) == len(ranked):
                    assigned = {self.account(name) for name in here} & set(task.ranking[: task.assigned])
                    expected.append((task.id, assigned))
        preimage = self.world.chain[state.marks]
        message = ledger.next_mark(state, epoch, preimage)
        assert self.world.log(seal(self.world.log_key, self.world.genesis.id, message)) is None
        for key, assigned in expected:
            final = state.recent[key]
            assert assigned <= set(final.counted), "an honest result of the logged ground was lost"
            assert final.state is TaskState.DONE or len(assigned) < final.quorum
        self.worked = [(plan, names) for plan, names in self.worked if plan.epoch >= epoch]

    def account(self, name: str) -> bytes:
        key: bytes = self.world.account(name).public
        return key

    @precondition(lambda self: self.world.state.marks < 60)
    @rule()
    def an_hour_on_time(self) -> None:
        self.hour = max(self.hour + 1, self.world.state.opening.epoch)
        self.log_what_is_heard()
        if self.hour > self.world.state.opening.epoch:
            self.mark(self.hour)
        self.evaluate()

    @precondition(lambda self: self.world.state.marks < 60)
    @rule(hours=st.sampled_from(OUTAGES), switched=st.integers(0, 7))
    def the_log_is_away_and_comes_back_late(self, hours: int, switched: int) -> None:
        for _ in range(hours):
            self.hour += 1
            self.evaluate()
        self.hour += 1
        self.evaluate(only=switched)  # these have committed before the late mark comes; the others switch to it
        self.log_what_is_heard()
        if self.hour > self.world.state.opening.epoch:
            self.mark(self.hour)
        self.evaluate()

    @precondition(lambda self: self.world.state.marks < 60)
    @rule(hours=st.sampled_from(OUTAGES))
    def the_log_is_away_and_waits_for_the_next_hour(self, hours: int) -> None:
        for _ in range(hours):
            self.hour += 1
            self.evaluate()
        self.an_hour_on_time()

    @precondition(lambda self: self.world.state.marks < 60)
    @rule()
    def the_mark_comes_early(self) -> None:
        """Half an hour before its time: the open epoch is cut short for whoever has not been heard."""
        self.log_what_is_heard()
        self.mark(max(self.hour, self.world.state.opening.epoch) + 1)
        for node in self.reachable():
            node.follow_log()

    @rule()
    def the_mark_comes_twice(self) -> None:
        state = self.world.state
        again = ledger.next_mark(state, state.opening.epoch, self.world.chain[state.marks])
        envelope = seal(self.world.log_key, self.world.genesis.id, again)
        assert self.world.log(envelope) is Rejection.VOID_EPOCH_PASSED

    @rule(names=st.sets(st.sampled_from(PEOPLE), max_size=4))
    def some_are_cut_off(self, names: set[str]) -> None:
        self.cut_off = names
        for node in self.reachable():
            node.follow_log()

    @invariant()
    def nobody_is_set_back(self) -> None:
        """All of them are honest; a leaderless epoch, another ground and a cut cable bring no penalty."""
        if not self.unlogged:
            accounts = self.world.state.accounts
            assert all(not accounts[self.account(name)].missed for name in PEOPLE)

    @invariant()
    def work_pauses_beyond_the_longest_outage(self) -> None:
        for node in self.nodes:
            opening = node.state.opening
            if opening:
                assert node.overlay.plan(opening.epoch + PARAMETERS.leaderless_max + 1) is None
                assert node.overlay.plan(opening.epoch - 1) is None

    def teardown(self) -> None:
        """Everybody is back: the same log, the same bytes; and what nobody had lost is void without harm."""
        if not hasattr(self, "world"):
            return
        self.cut_off = set()
        self.an_hour_on_time()
        entries = self.world.entries
        for node in self.nodes:
            node.follow_log()
            assert node.state.digest() == self.world.state.digest()
            assert node.overlay.plan(self.hour) == self.world.plan(self.hour)
        assert self.world.refold().digest() == self.world.state.digest()
        closed = [final.epoch for finals in self.world.state.verdicts for final in finals]
        assert closed == sorted(closed), "epochs are closed in order"
        other_ground = [
            entry
            for entry, void in zip(entries, self.world.voids, strict=True)
            if isinstance(entry.message, Commitment) and void not in {None, Rejection.VOID_DUPLICATE}
        ]
        reasons = {Rejection.VOID_OTHER_GROUND, Rejection.VOID_NO_OPEN_EPOCH}
        voids = {entry.id: void for entry, void in zip(entries, self.world.voids, strict=True)}
        assert all(voids[entry.id] in reasons for entry in other_ground)


def test_the_log_goes_away_and_comes_back(new_world: NewWorld) -> None:
    class Here(Outages):
        pass

    Here.new_world = staticmethod(new_world)
    run_state_machine_as_test(Here, settings=settings(max_examples=20, stateful_step_count=12, deadline=None))
