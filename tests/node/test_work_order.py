"""Which tasks a device takes on, in which order, and how often it tries them."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from node.work_order import TRIES, WorkQueue, fits, in_order, taken_on
from protocol.definitions import HubFile, Model
from protocol.failures import Failure
from protocol.messages import Profile
from protocol.runners import SPARES
from protocol.tasks import Purpose, Subject, Task
from tests.vectors.log_writing import LogWriter, key

PEOPLE = tuple(f"p{number}" for number in range(9))
OFFER = Profile(0, 4096, 8192, ("cpu",))
OF_DEVICE, OF_MODEL = Failure.OUT_OF_MEMORY, Failure.HASH_MISMATCH
GIB = 1 << 30


def task(number: int, model: bytes = b"m" * 32) -> Task:
    subject = Subject(model, b"b" * 32)
    return Task(bytes([number]) * 32, 0, subject, 5, Purpose.REGULAR, (1,), 3, 5, (), 55, 0)


def model(number: int, size: int, base: int | None = None) -> Model:
    name = number if base is None else base
    file = HubFile("test/models", "0" * 40, f"{name}.gguf", bytes([name]) * 32, size)
    return Model(file, (), "llama", 1000, "F16", "MIT")


def test_a_device_takes_what_it_is_asked_for_and_spare_ranks_only_on_demand() -> None:
    log = LogWriter()
    log.join(*PEOPLE)
    log.mark(0)
    plan, opening = log.plan(0), log.state.opening
    assert opening
    assigned = spare = 0
    for name in PEOPLE:
        account, device = key("account", name).public, key("device", name).public
        of = [each for each in plan.tasks.values() if account in each.ranking]
        mine = taken_on(plan, opening, account, device, spares=False)
        assert mine == [each for each in of if each.ranking.index(account) < each.assigned]
        more = taken_on(plan, opening, account, device, spares=True)
        assert more == of
        assigned, spare = assigned + len(mine), spare + len(more) - len(mine)
        assert taken_on(plan, opening, account, b"another" * 4, spares=True) == [], "the slot names another device"
    assert assigned == sum(each.assigned for each in plan.tasks.values()) > 0
    assert spare == SPARES * len(plan.tasks)


def test_an_audit_is_for_whichever_device_and_never_for_spares() -> None:
    log = LogWriter()
    log.join(*PEOPLE)
    log.mark(0)
    plan, opening = log.plan(0), log.state.opening
    assert opening
    tasks = {each.id: replace(each, purpose=Purpose.AUDIT) for each in plan.tasks.values()}
    for name in PEOPLE:
        account = key("account", name).public
        found = taken_on(replace(plan, tasks=tasks), opening, account, b"another", spares=True)
        assert all(each.ranking.index(account) < each.assigned for each in found)


def test_what_is_done_soonest_comes_first() -> None:
    large, small, huge, fetched = model(1, 2 * GIB), model(2, GIB), model(3, 6 * GIB), model(4, GIB // 2)
    models = {each.id: each for each in (large, small, huge, fetched)}
    tasks = [task(number, each.id) for number, each in enumerate(models.values())]
    examining = replace(task(9, small.id), examined=(object(),))
    order = in_order([examining, *tasks], models, {fetched.base.sha256}, OFFER)
    assert [models[each.subject.model] for each in order] == [small, large, fetched, huge, small]
    assert order[-1] is examining
    assert not fits(huge, OFFER)
    assert fits(model(1, 3 * GIB + GIB // 2), OFFER)
    assert not fits(model(1, 3 * GIB + GIB // 2 + 1), OFFER), "half a GiB is for the work itself"
    assert not fits(model(1, GIB), replace(OFFER, disk=1023))


@given(st.lists(st.tuples(st.integers(1, 3), st.booleans()), max_size=12))
def test_the_order_is_one_and_keeps_a_base_together(given_: list[tuple[int, bool]]) -> None:
    models = {}
    for number, (base, _) in enumerate(given_):
        found = replace(model(number, base * GIB, base), quantisation=f"Q{number}")
        models[bytes([number]) * 32] = found
    lacking = {bytes([base]) * 32 for base, lacks in given_ if lacks}
    tasks = [task(number, each) for number, each in enumerate(models)]
    order = in_order(tasks, models, lacking, OFFER)
    assert order == in_order(reversed(tasks), models, lacking, OFFER)
    bases = [models[each.subject.model].base.sha256 for each in order]
    assert len([base for place, base in enumerate(bases) if place == 0 or bases[place - 1] != base]) == len(set(bases))
    here = [base not in lacking for base in bases]
    assert here == sorted(here, reverse=True)


@given(st.lists(st.lists(st.sampled_from((None, OF_DEVICE, OF_MODEL)), min_size=TRIES, max_size=TRIES), max_size=8))
def test_each_task_ends_after_two_tries_at_most(ends: list[list[Failure | None]]) -> None:
    queue = WorkQueue([task(number) for number in range(len(ends))], 1.0)
    now, taken, waits = 0.0, [], []
    while turn := queue.take():
        waits.append(max(0.0, turn.not_before - now))
        now = max(now, turn.not_before) + 1.0
        number = turn.task.id[0]
        failure = ends[number][turn.failed]
        taken.append((number, turn.failed))
        if failure is None:
            queue.succeeded()
        else:
            again = not queue.is_given_up(turn, failure, now)
            assert again == (failure is OF_DEVICE and turn.failed == 0)
    assert len(set(taken)) == len(taken)
    for number, (first, _) in enumerate(ends):
        assert ((number, 1) in taken) == (first is OF_DEVICE)
    assert [number for number, failed in taken if failed == 0] == list(range(len(ends)))


def test_who_fails_again_and_again_waits_longer_each_time() -> None:
    queue = WorkQueue([task(number) for number in range(9)], 1.0)
    waits = []
    while turn := queue.take():
        if turn.failed == 0:
            assert not queue.is_given_up(turn, OF_DEVICE, 100.0)
        else:
            waits.append(turn.not_before - 100.0)
    assert waits == [1, 2, 4, 8, 16, 32, 32, 32, 32]
    queue = WorkQueue([task(number) for number in range(3)], 1.0)
    for _ in range(2):
        turn = queue.take()
        assert turn
        assert not queue.is_given_up(turn, OF_DEVICE, 0.0)
        queue.succeeded()
    assert queue.following == task(2)
    queue.take()
    assert queue.following == task(0)
    waits = [each.not_before for each in (queue.take(), queue.take()) if each]
    assert waits == [1.0, 1.0], "a success in between makes it begin anew"
