"""What examinations put on record about the runners that they look at, and what follows from it."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from protocol import audits
from protocol.audits import Audited, Conclusion, Finding, Sight
from protocol.counting import is_consistent
from protocol.lifecycle import TaskState
from protocol.messages import Profile, Result, TaskResult, commitment_digest
from protocol.parameters import DEMO
from protocol.tasks import Purpose, Task
from protocol.tiers import Scope, scopes_of
from protocol.transcripts import Stop

World = Any  # the class of conftest.py, which tests cannot import
NewWorld = Callable[..., World]
Say = Callable[[str, Task], tuple[Finding, ...] | None]
PEOPLE = tuple(f"p{n}" for n in range(16))
PARAMETERS = replace(DEMO, pool=7, quick_depth=25, audit_share=1000, tasks_max=10)


def sha(*parts: object) -> bytes:
    return hashlib.sha256(repr(parts).encode()).digest()


MATCH = Finding(Sight.EXAMINED, bytes(4))
SILENT = Finding(Sight.NOT_REVEALED)
BUSY = Finding(Sight.NOT_EXAMINED)
FORGED = Finding(Sight.EXAMINED, b"\xff\xf0\x00\x00")
findings = st.sampled_from([None, MATCH, SILENT, BUSY, FORGED, Finding(Sight.EXAMINED, b"\x80\x00\x00\x00")])


def say(world: World, epoch: int, findings_of: Say) -> None:
    """All of the epoch's work, with these findings in the results of examinations."""
    plan = world.plan(epoch)
    commitments, results = world.statements(plan, PEOPLE)
    sent = []
    names = {world.device(name).public: name for name in PEOPLE}
    for envelope in results:
        message: Result = envelope.message
        name = names[envelope.signer]
        tasks = tuple(replace(each, findings=findings_of(name, plan.tasks[each.task])) for each in message.tasks)
        sent.append((name, message, tasks))
    for name, message, tasks in sent:
        draft = replace(message, tasks=tasks, commitment=bytes(32))
        digest = commitment_digest(world.genesis.id, world.account(name).public, draft)
        place = next(n for n, envelope in enumerate(commitments) if envelope.signer == world.device(name).public)
        commitments[place] = world.seal(name, replace(commitments[place].message, digest=digest))
    ids = {world.account(names[envelope.signer]).public: envelope.id for envelope in commitments}
    opened = []
    for name, message, tasks in sent:
        saw = tuple(tuple(ids[account][:16] for account in plan.tasks[each.task].ranking) for each in tasks)
        commitment = ids[world.account(name).public]
        opened.append(world.seal(name, replace(message, tasks=tasks, commitment=commitment, saw=saw)))
    world.log(*commitments, *opened, *(world.seal(n, Profile(epoch, 4096, 1024, ("cpu",))) for n in PEOPLE))


def nothing(_name: str, _task: Task) -> None:
    return None


def examining(world: World, epoch: int) -> list[Task]:
    return [task for task in world.plan(epoch).tasks.values() if task.purpose is Purpose.AUDIT]


@pytest.fixture
def world(new_world: NewWorld) -> World:
    """The second epoch is open, with an audit of a task of the first."""
    made = new_world(models=7, parameters=PARAMETERS)
    made.join(*PEOPLE)
    for epoch in (0, 1):
        assert made.mark(epoch) is None
        if epoch == 0:
            say(made, epoch, nothing)
    return made


def test_an_audit_names_whose_transcripts_it_wants(world: World) -> None:
    (task,) = examining(world, 1)
    target = world.state.recent[task.looks_at]
    assert [examined.account for examined in task.examined] == list(target.agreeing)
    assert {examined.transcript for examined in task.examined} == {sha("transcript", target.task)}
    assert not set(target.agreeing) & set(task.ranking), "nobody looks at itself"


@pytest.mark.parametrize(
    ("finding", "conclusion", "flagged", "scopes", "behind"),
    [
        (MATCH, Conclusion.MATCHES, 0, True, False),
        (FORGED, Conclusion.FLAGGED, 12, False, True),
        (SILENT, Conclusion.NOT_REVEALED, 0, True, True),
    ],
)
def test_what_most_find_is_on_record_and_has_its_consequence(
    world: World, finding: Finding, conclusion: Conclusion, flagged: int, scopes: bool, behind: bool
) -> None:
    (task,) = examining(world, 1)
    target = world.state.recent[task.looks_at]
    suspect = task.examined[0].account
    before = world.state.standings[target.subject].works[:]

    def found(name: str, asked: Task) -> tuple[Finding, ...] | None:
        if not asked.examined:
            return None
        return (finding, *[MATCH] * (len(asked.examined) - 1))

    say(world, 1, found)
    credit = world.state.accounts[suspect].credit
    world.mark(2)
    assert world.state.recent[task.id].state is TaskState.DONE
    (record,) = world.state.accounts[suspect].audits
    assert (record.task, record.conclusion, record.flagged) == (task.looks_at, conclusion, flagged)
    for examined in task.examined[1:]:
        assert [each.conclusion for each in world.state.accounts[examined.account].audits] == [Conclusion.MATCHES]
    assert world.state.recent[target.task] is target, "nothing changes a final verdict"
    assert world.state.standings[target.subject].works[: len(before)] == before
    assert world.state.accounts[suspect].credit >= credit
    assert (Scope.RATE in scopes_of(world.state, suspect)) == scopes
    assert (suspect in world.state.opening.set_back) == behind
    for other in world.plan(2).tasks.values():
        if behind and suspect in other.ranking and other.purpose is Purpose.REGULAR:
            assert other.ranking[-1] == suspect
    assert world.refold().digest() == world.state.digest()


def test_records_are_kept_for_the_window(world: World) -> None:
    (task,) = examining(world, 1)
    examined, window, now = task.examined[0].account, PARAMETERS.profile_window, world.state.marks
    old, kept = (Audited(bytes(32), Conclusion.MATCHES, 0, now - age) for age in (window, window - 1))
    world.state.accounts[examined] = replace(world.state.accounts[examined], audits=(old, kept))
    say(world, 1, lambda _, asked: tuple(MATCH for _ in asked.examined) or None)
    world.mark(2)
    new = Audited(task.looks_at or b"", Conclusion.MATCHES, 0, now)
    assert world.state.accounts[examined].audits == (kept, new)


def test_a_minority_of_examiners_puts_nothing_on_record(world: World) -> None:
    (task,) = examining(world, 1)
    liars = set(task.ranking[: len(task.ranking) // 2 - 1])

    def found(name: str, asked: Task) -> tuple[Finding, ...] | None:
        lies = world.account(name).public in liars
        return tuple(FORGED if lies else MATCH for _ in asked.examined) or None

    say(world, 1, found)
    world.mark(2)
    for examined in task.examined:
        assert [each.conclusion for each in world.state.accounts[examined.account].audits] == [Conclusion.MATCHES]
        assert examined.account not in world.state.opening.set_back


def test_runners_who_find_nothing_out_put_nothing_on_record(world: World) -> None:
    (task,) = examining(world, 1)
    say(world, 1, nothing)
    world.mark(2)
    assert world.state.recent[task.id].state is TaskState.DONE
    assert not any(world.state.accounts[examined.account].audits for examined in task.examined)


def test_after_the_window_it_is_over(new_world: NewWorld) -> None:
    world = new_world(models=7, parameters=replace(PARAMETERS, profile_window=3))
    world.join(*PEOPLE)
    world.mark(0)
    say(world, 0, nothing)
    world.mark(1)
    suspect = examining(world, 1)[0].examined[0].account
    say(world, 1, lambda _, asked: tuple(FORGED for _ in asked.examined) or None)
    for epoch in (2, 3, 4):
        world.mark(epoch)
        assert suspect in world.state.opening.set_back
        say(world, epoch, nothing)
    world.mark(5)
    assert suspect not in world.state.opening.set_back
    assert Scope.RATE in scopes_of(world.state, suspect)


@given(st.lists(findings, min_size=1, max_size=9))
def test_a_conclusion_needs_more_than_half_of_the_agreeing(said: list[Finding | None]) -> None:
    concluded = audits.conclude(said, 25)
    most = len(said) // 2 + 1
    examined = [finding for finding in said if finding and finding.sight is Sight.EXAMINED]
    if said.count(SILENT) >= most:
        assert concluded == (Conclusion.NOT_REVEALED, 0)
    elif len(examined) < most:
        assert concluded is None
    else:
        first = sum(finding != MATCH for finding in examined) >= most
        forged = examined.count(FORGED) >= most
        flagged = 12 if forged else int(first)
        assert concluded == (Conclusion.FLAGGED if forged else Conclusion.MATCHES, flagged)
    assert concluded == audits.conclude(said[::-1], 25), "whoever speaks first"


@given(st.integers(1, 200), st.data())
def test_flagged_is_who_has_more_flagged_questions_than_rule_3_forgives(count: int, data: st.DataObject) -> None:
    flagged = data.draw(st.sets(st.integers(0, count - 1)))
    mask = bytearray(-(-count // 8))
    for place in flagged:
        mask[place // 8] |= 128 >> place % 8
    finding = Finding(Sight.EXAMINED, bytes(mask))
    assert audits.is_well_formed(finding, count)
    more = len(flagged) > max(1, count / 10)
    expected = Conclusion.FLAGGED if more else Conclusion.MATCHES
    assert audits.conclude([finding] * 5, count) == (expected, len(flagged))


def consistent(task: Task, result: TaskResult, said: Sequence[Finding] | None) -> bool:
    return is_consistent(task, replace(result, findings=None if said is None else tuple(said)))


def test_findings_fit_their_task_or_the_result_is_not_valid(world: World) -> None:
    (task,) = examining(world, 1)
    regular = next(each for each in world.plan(1).tasks.values() if not each.examined)
    result, count = world.result_of(task), len(task.examined)
    for said in (None, [MATCH] * count, [SILENT] * count, [BUSY] * count):
        assert consistent(task, result, said)
    wrong = (
        Finding(Sight.EXAMINED),
        Finding(Sight.NOT_REVEALED, bytes(4)),
        Finding(Sight.EXAMINED, bytes(3)),
        Finding(Sight.EXAMINED, bytes(3) + b"\x01"),
    )
    assert not any(consistent(task, result, [MATCH] * (count - 1) + [finding]) for finding in wrong)
    assert not consistent(task, result, [MATCH] * (count - 1))
    assert not consistent(task, result, [])
    for said in ([MATCH], []):
        assert not consistent(regular, world.result_of(regular), said)
    assert consistent(regular, world.result_of(regular), None)


def test_stop_reasons_fit_the_questions(world: World) -> None:
    task = next(iter(world.plan(1).tasks.values()))
    result = world.result_of(task)
    assert is_consistent(task, replace(result, stops=bytes(25)))
    assert is_consistent(task, replace(result, stops=bytes([max(Stop)]) * 25))
    assert not is_consistent(task, replace(result, stops=bytes([max(Stop) + 1]) * 25))
    assert not is_consistent(task, replace(result, stops=bytes(24)))
