from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from protocol.definitions import Benchmark, Dataset, HubFile, Model, TaskKind
from protocol.parameters import DEMO
from protocol.tasks import Purpose, Subject, Turn, due_subjects, question_order, task_id

digests = st.binary(min_size=32, max_size=32)


@given(digests, digests, st.integers(1, 500), st.integers(0, 600))
def test_an_order_is_a_permutation_without_repeats(beacon: bytes, content: bytes, questions: int, depth: int) -> None:
    order = question_order(beacon, content, questions, depth)
    assert len(order) == min(questions, depth) == len(set(order))
    assert all(0 <= index < questions for index in order)


@given(digests, digests, st.integers(1, 300), st.integers(0, 100), st.integers(0, 100))
def test_a_deeper_task_continues_a_shallower_one(
    beacon: bytes, content: bytes, questions: int, less: int, more: int
) -> None:
    shallow = question_order(beacon, content, questions, less)
    assert question_order(beacon, content, questions, less + more)[: len(shallow)] == shallow


def test_every_question_is_as_likely_as_any_other() -> None:
    content = bytes(32)
    counts = Counter(index for n in range(4000) for index in question_order(n.to_bytes(32, "big"), content, 20, 5))
    assert set(counts) == set(range(20))
    assert all(850 < count < 1150 for count in counts.values()), "five standard deviations around 1000"


def test_the_order_is_pinned() -> None:
    """A change of these numbers is a change of the protocol."""
    assert question_order(b"b" * 32, b"c" * 32, 1000, 5) == (713, 627, 364, 988, 365)


def test_task_ids_differ_by_what_they_are_about() -> None:
    one, other = Subject(b"m" * 32, b"b" * 32), Subject(b"n" * 32, b"b" * 32)
    ids = {
        task_id(one, 1, 25, Purpose.REGULAR),
        task_id(other, 1, 25, Purpose.REGULAR),
        task_id(one, 2, 25, Purpose.REGULAR),
        task_id(one, 1, 5, Purpose.REGULAR),
        task_id(one, 1, 25, Purpose.AUDIT),
        task_id(one, 1, 25, Purpose.AUDIT, b"t" * 32),
    }
    assert len(ids) == 6


def _models(count: int) -> dict[bytes, Model]:
    files = [HubFile("a/b", "0" * 40, "m.gguf", n.to_bytes(32, "big"), 1) for n in range(count)]
    models = [Model(file, (), "llama", 1, "F16", "MIT") for file in files]
    return {model.id: model for model in models}


def _benchmarks() -> dict[bytes, Benchmark]:
    dataset = Dataset("a/b", "0" * 40, "main", "test", bytes(32), 100)
    one = Benchmark("one", 1, "maths", "en", TaskKind.CHOICE, dataset, "p", "s", 0, 0, ("1", "2"))
    return {one.id: one}


def test_a_small_network_is_asked_everything_each_epoch() -> None:
    due = due_subjects(_models(7), _benchmarks(), {}, DEMO)
    assert len(due) == 7


def test_beyond_the_bound_nobody_waits_longer_than_a_round() -> None:
    models, benchmarks = _models(10), _benchmarks()
    parameters = replace(DEMO, tasks_max=3)
    turns: dict[Subject, Turn] = {}
    marks: dict[Subject, list[int]] = {}
    for mark in range(40):
        due = due_subjects(models, benchmarks, turns, parameters)
        assert len(due) == 3
        for subject in due:
            marks.setdefault(subject, []).append(mark)
        turns |= {subject: Turn(asked=mark) for subject in due}
    assert len(marks) == 10
    for asked in marks.values():
        assert all(later - earlier <= 4 for earlier, later in pairwise(asked))


def test_what_is_due_again_comes_first_but_takes_a_tenth_only() -> None:
    models, benchmarks = _models(30), _benchmarks()
    parameters = replace(DEMO, tasks_max=20)
    everything = due_subjects(models, benchmarks, {}, replace(DEMO, tasks_max=64))
    again = everything[-5:]
    turns = {subject: Turn(asked=0) for subject in everything}
    turns |= {subject: Turn(asked=5, due_again=True) for subject in again}
    due = due_subjects(models, benchmarks, turns, parameters)
    assert due[:2] == tuple(sorted(again))[:2]
    assert not set(due[2:]) & set(again), "they were asked last: the others are first in turn"
