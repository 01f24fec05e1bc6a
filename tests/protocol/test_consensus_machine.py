"""A small network with every kind of liar, in any order of events, against a plain reading of the four rules."""

import itertools
from collections.abc import Callable, Mapping
from random import Random
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

from protocol import fingerprint
from protocol.counting import Verdict
from protocol.envelope import Envelope
from protocol.failures import Failure
from protocol.lifecycle import TaskState
from protocol.messages import Commitment, Profile, Result, Run, TaskResult, commitment_digest
from protocol.overlay import Overlay
from protocol.parameters import DEMO
from protocol.tasks import Task

World = Any  # the class of conftest.py, which tests cannot import
NewWorld = Callable[..., World]
PARAMETERS = replace(DEMO, quick_depth=4, standard_depth=4, comprehensive_depth=4)
FINAL = {TaskState.DONE, TaskState.DISPUTED, TaskState.FAILED, TaskState.EXPIRED, TaskState.WAITING}
LIES = {
    "copier": "copies after the reveals",
    "forger": "has the true fingerprint and made-up outcomes",
    "other model": "ran another model",
    "replayer": "has the fingerprint of another hour",
    "excuse": "says that the model fails",
    "garbler": "its counts do not fit together",
    "equivocator": "commits twice",
    "two faces": "reveals one commitment in two ways",
    "turncoat": "reveals what it did not commit to",
    "withholder": "never reveals",
    "false witness": "claims to have seen everything",
    "blind witness": "claims to have seen nothing",
    "twin": "a false witness with several accounts, which are attested to one person",
}
VOUCH = {"copier", "false witness", "twin"}
"""Say that they saw whoever has committed, however late."""
NEVER_COUNT = {"garbler", "equivocator", "two faces", "turncoat", "withholder"}
NEVER_AGREE = {"other model", "replayer", "excuse"}
"""Where the honest are the majority."""


def plain_verdict(task: Task, statements: list[tuple[bytes, Envelope, bytes]]) -> tuple[set[bytes], set[bytes], bool]:
    """(counted, agreeing, whether DONE) by the rules as they are written; statements: (account, envelope, digest)."""
    commitments: dict[bytes, dict[bytes, bytes]] = {}
    results: dict[bytes, dict[bytes, tuple[Result, bytes]]] = {}
    for account, envelope, digest in statements:
        if account not in task.ranking:
            continue
        message = envelope.message
        if isinstance(message, Commitment) and task.id in message.tasks:
            commitments.setdefault(account, {})[envelope.id] = message.digest
        if isinstance(message, Result) and task.id in {result.task for result in message.tasks}:
            results.setdefault(account, {})[envelope.id] = (message, digest)
    valid: dict[bytes, tuple[TaskResult, tuple[bytes, ...]]] = {}
    for account in task.ranking:
        mine, revealed = commitments.get(account, {}), results.get(account, {})
        if len(mine) == len(revealed) == 1:
            (message, digest), (name, committed) = next(iter(revealed.values())), next(iter(mine.items()))
            place = next(n for n, result in enumerate(message.tasks) if result.task == task.id)
            found = message.tasks[place]
            consistent = found.failure is not None or sum(found.outcomes or ()) == found.total
            if message.commitment == name and digest == committed and consistent:
                valid[account] = (found, message.saw[place])

    def witnesses(account: bytes) -> int:
        name = next(iter(commitments[account]))[:16]
        rank = task.ranking.index(account)
        return sum(other != account and saw[rank] == name for other, (_, saw) in valid.items())

    counted = [a for a in task.ranking[: task.assigned] if a in valid and witnesses(a) >= task.quorum - 1]
    if len(counted) < task.quorum:
        return set(counted), set(), False
    evaluated = [account for account in counted if valid[account][0].failure is None]
    count = len(task.questions)
    vectors = {account: fingerprint.decode(valid[account][0].fingerprint or b"", count) for account in evaluated}
    cliques = [
        group
        for size in range(1, len(evaluated) + 1)
        for group in itertools.combinations(evaluated, size)
        if all(fingerprint.agree(vectors[a], vectors[b], task.tolerance) for a in group for b in group)
    ]
    best = max(map(len, cliques), default=0)
    together = next((group for group in cliques if len(group) == best), ())
    outcomes = {account: valid[account][0].outcomes or () for account in together}
    middle = [sorted(values)[(len(values) - 1) // 2] for values in zip(*outcomes.values(), strict=True)]
    agreeing = {a for a in together if sum(x != y for x, y in zip(outcomes[a], middle, strict=True)) <= 1}
    done = len(agreeing) >= task.quorum and 2 * len(agreeing) > len(counted)
    totals = [sum(outcomes[account]) for account in agreeing]
    return set(counted), agreeing, done and max(totals) - min(totals) <= 500 * len(task.questions)


class Network(RuleBasedStateMachine):
    """One epoch after the other; within each: commit, seal, reveal, close."""

    new_world: NewWorld

    @initialize(
        honest=st.integers(3, 8),
        liars=st.lists(st.sampled_from(("copier", "false witness", *LIES)), min_size=1, max_size=6),
        seed=st.integers(0, 999),
    )
    def begin(self, honest: int, liars: list[str], seed: int) -> None:
        self.random = Random(seed)
        self.honest = [f"honest {number}" for number in range(honest)]
        self.liars = {f"{lie} {number}": lie for number, lie in enumerate(liars)}
        self.world = self.new_world(models=2, parameters=PARAMETERS)
        self.world.join(*self.honest, *self.liars)
        self.world.attest("somebody", *(name for name, lie in self.liars.items() if lie == "twin"))
        self.epoch = -1
        self.open_next()

    def open_next(self) -> None:
        self.epoch += 1
        assert self.world.mark(self.epoch) is None
        self.plan = self.world.plan(self.epoch)
        self.drafts: dict[str, tuple[Envelope, Result]] = {}
        self.on_time: set[str] = set()
        self.sealed: dict[str, Mapping[bytes, bytes]] = {}
        self.revealed: set[str] = set()
        self.said: list[tuple[bytes, Envelope, bytes]] = []
        self.phase = "commit"

    def account(self, name: str) -> bytes:
        key: bytes = self.world.account(name).public
        return key

    def say(self, name: str, message: Commitment | Result) -> Envelope:
        envelope: Envelope = self.world.seal(name, message)
        digest = b""
        if isinstance(message, Result):
            digest = commitment_digest(self.world.genesis.id, self.account(name), message)
        self.said.append((self.account(name), envelope, digest))
        self.world.log(envelope)
        return envelope

    def seen_now(self) -> dict[bytes, bytes]:
        """By account: the start of the id of its only commitment."""
        ids: dict[bytes, set[bytes]] = {}
        for account, envelope, _ in self.said:
            if isinstance(envelope.message, Commitment):
                ids.setdefault(account, set()).add(envelope.id)
        return {account: next(iter(known))[:16] for account, known in ids.items() if len(known) == 1}

    def commit(self, name: str, salt: str = "") -> None:
        lie = self.liars.get(name)
        camp = lie if lie in {"other model", "replayer"} else ""
        tasks = tuple(
            self.world.result_of(t, camp) for t in self.plan.tasks.values() if self.account(name) in t.ranking
        )
        if not tasks:
            return
        if lie == "forger":
            tasks = tuple(replace(r, outcomes=(1000,) * 4, total=4000) for r in tasks)
        elif lie == "garbler":
            tasks = tuple(replace(r, total=(r.total or 0) + 1) for r in tasks)
        elif lie == "excuse":
            tasks = tuple(TaskResult(r.task, Failure.NOT_FINITE) for r in tasks)
        run, key = Run("test 1", "cpu", "reproducible", 0), (name + salt).encode().ljust(32)[:32]
        draft = Result(self.epoch, self.plan.ground, bytes(32), key, run, tasks, ())
        digest = commitment_digest(self.world.genesis.id, self.account(name), draft)
        named = tuple(result.task for result in tasks)
        envelope = self.say(name, Commitment(self.epoch, self.plan.ground, named, digest))
        self.drafts[name] = (envelope, draft)

    @precondition(lambda self: self.phase == "commit")
    @rule(data=st.data())
    def some_commit(self, data: st.DataObject) -> None:
        waiting = [n for n in (*self.honest, *self.liars) if n not in self.drafts and self.liars.get(n) != "copier"]
        for name in data.draw(st.permutations(waiting))[: data.draw(st.integers(1, len(waiting) or 1))]:
            self.commit(name)
            if name in self.honest and name in self.drafts:
                self.on_time.add(name)
            if self.liars.get(name) == "equivocator":
                self.commit(name, "again")

    @precondition(lambda self: self.phase == "commit" and self.drafts)
    @rule()
    def everybody_seals(self) -> None:
        self.sealed = {name: self.seen_now() for name in self.drafts}
        self.phase = "reveal"

    @precondition(lambda self: self.phase == "reveal")
    @rule(data=st.data())
    def some_reveal(self, data: st.DataObject) -> None:
        waiting = [n for n in self.drafts if n not in self.revealed and self.liars.get(n) != "withholder"]
        for name in data.draw(st.permutations(waiting))[: data.draw(st.integers(1, len(waiting) or 1))]:
            self.reveal(name)

    def reveal(self, name: str) -> None:
        self.revealed.add(name)
        envelope, draft = self.drafts[name]
        lie = self.liars.get(name)
        saw = self.seen_now() if lie in {"false witness", "twin", "copier"} else self.sealed.get(name, {})
        if lie == "blind witness":
            saw = {}
        if lie == "turncoat":
            draft = replace(draft, salt=b"chosen after all others".ljust(32))
        rows = tuple(
            tuple(saw.get(account, b"") for account in self.plan.tasks[result.task].ranking) for result in draft.tasks
        )
        self.say(name, replace(draft, commitment=envelope.id, saw=rows))
        if lie == "two faces":
            self.say(name, replace(draft, commitment=envelope.id, saw=()))

    @precondition(lambda self: self.phase == "reveal" and self.revealed)
    @rule()
    def all_copiers_copy(self) -> None:
        waiting = [name for name, lie in self.liars.items() if lie == "copier" and name not in self.drafts]
        for name in waiting:
            self.commit(name)
        for name in waiting:
            if name in self.drafts:
                self.reveal(name)

    @precondition(lambda self: self.phase == "reveal")
    @rule()
    def old_words_come_again(self) -> None:
        for _, envelope, _ in self.random.sample(self.said, min(3, len(self.said))):
            self.world.log(envelope)

    @precondition(lambda self: self.revealed and self.epoch < 3)
    @rule()
    def the_epoch_closes(self) -> None:
        for name in self.on_time - self.revealed:
            self.reveal(name)
        provisional = self.shuffled_overlay()
        everybody = (*self.honest, *self.liars)
        self.world.log(*(self.world.seal(n, Profile(self.epoch, 4096, 1024, ("cpu",))) for n in everybody))
        plan, said, on_time = self.plan, self.said, set(self.on_time)
        closing = self.epoch
        self.open_next()
        finals = {final.task: final for final in self.world.state.verdicts[-1]}
        for task in plan.tasks.values():
            final = finals[task.id]
            assert final.epoch == closing
            assert final.state in FINAL
            assert provisional[task.id].counted == final.counted
            assert provisional[task.id].agreeing == final.agreeing
            self.check(task, final, said, on_time)

    def check(self, task: Task, final: Any, said: list[tuple[bytes, Envelope, bytes]], on_time: set[str]) -> None:
        counted, agreeing, done = plain_verdict(task, said)
        assert set(final.counted) == counted
        assert (final.state is TaskState.DONE) == done
        if done:
            assert set(final.agreeing) == agreeing
        honest = {self.account(name) for name in on_time} & set(task.ranking)
        assigned = honest & set(task.ranking[: task.assigned])
        assert len(self.who({"twin"}) & set(task.ranking)) <= 1, "one account of a person is asked"
        assert not self.who(NEVER_COUNT) & counted
        if len(self.who(VOUCH) & set(task.ranking)) < task.quorum:
            assert not self.who({"copier"}) & counted
        if len(honest) >= task.quorum and task.assigned:
            assert assigned <= counted, "honest runners who are on time count"
        if len(assigned) >= task.quorum and len(assigned) > len(counted - assigned):
            assert done, "liars who are fewer cannot stop a verdict"
            assert assigned <= agreeing
            assert not self.who(NEVER_AGREE) & agreeing

    def who(self, lies: set[str]) -> set[bytes]:
        return {self.account(name) for name, lie in self.liars.items() if lie in lies}

    def shuffled_overlay(self) -> dict[bytes, Verdict]:
        """The verdicts of a node that heard everything in another order, some of it twice."""
        envelopes = [envelope for _, envelope, _ in self.said]
        envelopes += self.random.sample(envelopes, min(2, len(envelopes)))
        self.random.shuffle(envelopes)
        overlay = Overlay(self.world.state)
        for envelope in envelopes:
            overlay.add(envelope)
        return {task.id: overlay.provisional(task).verdict for task in self.plan.tasks.values()}

    @invariant()
    def who_was_honest_is_never_set_back(self) -> None:
        accounts = self.world.state.accounts
        assert all(not accounts[self.account(name)].missed for name in self.honest)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            assert self.world.refold().digest() == self.world.state.digest()


def test_every_kind_of_liar_in_every_order(new_world: NewWorld) -> None:
    class Here(Network):
        pass

    Here.new_world = staticmethod(new_world)
    run_state_machine_as_test(Here, settings=settings(max_examples=250, stateful_step_count=40, deadline=None))
