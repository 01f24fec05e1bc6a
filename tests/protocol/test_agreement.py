"""The quick way to agreeing fingerprints is the definition's."""

import itertools
import struct
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import fingerprint
from protocol.agreement import Agreement
from protocol.distances import distances, values
from protocol.fingerprint import Vector
from protocol.parameters import QUORUM_MAX

FEW, MANY = 2, 20  # sixteen values a question, and six


def numbers(count: int, most: int) -> st.SearchStrategy[list[int]]:
    """So many from 0 to `most`."""
    drawn = st.binary(min_size=2 * count, max_size=2 * count)
    return drawn.map(lambda data: [number % (most + 1) for number in struct.unpack(f">{count}H", data)])


def encoded(values: Sequence[int]) -> bytes:
    return b"".join(min((1 << 24) - 1, max(0, value)).to_bytes(3, "big") for value in values)


@st.composite
def fingerprints(draw: st.DrawFn) -> tuple[int, list[bytes]]:
    """How many questions, and up to seven, in up to three camps, nearer to or further from their camp's middle."""
    questions = draw(st.sampled_from([FEW, MANY]))
    count = questions * fingerprint.values_per_question(questions)
    camps = draw(st.lists(numbers(count, 6000), min_size=1, max_size=3))
    found = []
    for _ in range(draw(st.integers(1, 7))):
        camp = draw(st.sampled_from(camps))
        scale = draw(st.sampled_from([0, 1, 1, 2, 4]))
        shifts = draw(numbers(count, 80))
        found.append(encoded([value + scale * (shift - 40) for value, shift in zip(camp, shifts, strict=True)]))
    return questions, found


def by_definition(vectors: Sequence[Vector], tolerance: int) -> tuple[int, ...]:
    """The largest set, tried one after the other; ties: least total distance, then canonical order."""
    for size in range(len(vectors), 0, -1):
        found = [
            members
            for members in itertools.combinations(range(len(vectors)), size)
            if all(
                fingerprint.agree(vectors[i], vectors[j], tolerance)
                for i, j in itertools.combinations_with_replacement(members, 2)
            )
        ]
        if found:
            return min(found, key=lambda members: (total_distance(vectors, members), members))
    return ()


def total_distance(vectors: Sequence[Vector], members: tuple[int, ...]) -> int:
    return sum(sum(fingerprint.distances(vectors[i], vectors[j])) for i, j in itertools.combinations(members, 2))


@given(fingerprints(), st.sampled_from([8, 14, 55]))
def test_the_largest_set_is_the_definitions(made: tuple[int, list[bytes]], tolerance: int) -> None:
    questions, found = made
    vectors = [fingerprint.decode(data, questions) for data in found]
    expected = by_definition(vectors, tolerance)
    agreement = Agreement(found, questions, tolerance)
    if agreement.is_unanimous():
        assert expected == tuple(range(len(found)))
    assert agreement.largest(len(found)) == expected
    others = [index for index in range(len(found)) if index not in expected]
    joining = [
        index
        for index in others
        if all(fingerprint.agree(vectors[index], vectors[member], tolerance) for member in expected)
    ]
    if expected:
        assert agreement.joining(others, expected) == joining
        assert agreement.joining(joining, expected) == joining


@given(numbers(32, 99), st.lists(st.integers(0, 3), min_size=1, max_size=7))
def test_fingerprints_that_hardly_differ_are_seen_to_agree(middle: list[int], steps: list[int]) -> None:
    varied = [1000 * (place % 7) + value for place, value in enumerate(middle)]
    assert Agreement([encoded([value + step for value in varied]) for step in steps], FEW, 8).is_unanimous()


def test_who_joins_is_compared_where_one_reference_cannot_tell() -> None:
    """Two that agree with the reference and are alike, but so far from it that they might lie on either side of it."""
    middle = [1000 * (place % 7) for place in range(32)]
    beside, beyond = ([value + step for value in middle] for step in (75, -75))
    agreement = Agreement([encoded(values) for values in (middle, beside, beside)], FEW, 55)
    assert agreement.largest(2) == (0, 1)
    assert agreement.joining([2], [0, 1]) == [2]
    apart = Agreement([encoded([value + 75 for value in values]) for values in (middle, beside, beyond)], FEW, 55)
    assert apart.largest(2) == (0, 1)
    assert apart.joining([2], [0, 1]) == []


def test_none_and_constant_ones_are_not_unanimous() -> None:
    assert not Agreement([], FEW, 55).is_unanimous()
    assert not Agreement([encoded([1000] * 32)] * 5, FEW, 55).is_unanimous()


@given(fingerprints(), st.sampled_from([8, 55]), st.data())
def test_pairs_agree_as_they_are_defined_to(made: tuple[int, list[bytes]], tolerance: int, data: st.DataObject) -> None:
    questions, found = made
    first = data.draw(st.integers(0, len(found) - 1))
    second = data.draw(st.integers(0, len(found) - 1))
    vectors = [fingerprint.decode(item, questions) for item in found]
    expected = fingerprint.agree(vectors[first], vectors[second], tolerance)
    assert Agreement(found, questions, tolerance).agree(first, second) == expected


@given(fingerprints(), st.sampled_from([8, 55]))
def test_a_part_of_them_is_searched_like_the_whole(made: tuple[int, list[bytes]], tolerance: int) -> None:
    questions, found = made
    for count in range(len(found) + 1):
        vectors = [fingerprint.decode(data, questions) for data in found[:count]]
        assert Agreement(found, questions, tolerance).largest(count) == by_definition(vectors, tolerance)


@given(st.sampled_from([0, 1, 3, 19, 20, 21]), st.data())
def test_distances_are_the_definitions_for_every_value(questions: int, data: st.DataObject) -> None:
    width = fingerprint.encoded_size(questions)
    extremes = st.lists(
        st.sampled_from([b"\0\0\0", b"\xff\xff\xff", b"\x80\0\1"]), min_size=width // 3, max_size=width // 3
    )
    encodings = st.binary(min_size=width, max_size=width) | extremes.map(b"".join)
    small = encodings.map(lambda encoding: bytes(byte & 127 for byte in encoding))
    found = data.draw(st.lists(small, min_size=1, max_size=5) | st.lists(encodings | small, min_size=1, max_size=5))
    vectors = [fingerprint.decode(item, questions) for item in found]
    for reference, vector in zip(found, vectors, strict=True):
        apart = [fingerprint.distances(vector, other) for other in vectors]
        totals, worst = [sum(each) for each in apart], [max(each, default=0) for each in apart]
        assert distances(reference, found, questions) == (totals, worst)
        assert values(reference) == tuple(itertools.chain.from_iterable(vector))


def test_no_input_makes_it_measure_from_one_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    references: list[bytes] = []

    def counting(reference: bytes, fingerprints: Sequence[bytes], questions: int) -> tuple[list[int], list[int]]:
        references.append(reference)
        return distances(reference, fingerprints, questions)

    monkeypatch.setattr("protocol.agreement.distances", counting)
    count = 2 * (QUORUM_MAX + 2) - 1
    # A row along which only neighbours agree, and a ring of groups: no vector tells about all others.
    row = [encoded([1000 + 40 * place + 100 * value for value in range(32)]) for place in range(count)]
    groups = [
        encoded([3000 + (600 if place // 3 == group and place % 3 == value % 3 else 0) for value in range(96)])
        for group in range(6)
        for place in range(3 * group, 3 * group + 3)
    ]
    for questions, found in ((FEW, row), (6, groups)):
        for tolerance in range(0, 1000, 37):
            references.clear()
            Agreement(found, questions, tolerance).largest(len(found))
            assert 0 < len(references) <= len(found)


@pytest.mark.parametrize(("questions", "size"), [(0, 0), (1, 48), (19, 912), (20, 360), (25, 450), (1000, 18_000)])
def test_a_fingerprint_has_the_length_of_its_task(questions: int, size: int) -> None:
    each = fingerprint.values_per_question(questions)
    said = fingerprint.encode([[-1.0] * each] * questions)
    assert len(said) == fingerprint.encoded_size(questions) == size
    assert fingerprint.decode(said, questions) == ((256,) * each,) * questions
    for wrong in (said + b"\0", said + bytes(3), said[:-3] if said else b"\0"):
        with pytest.raises(ValueError, match=f"{questions} questions has {size} bytes"):
            fingerprint.decode(wrong, questions)
    for more in (each - 1, each + 1) if questions else ():
        with pytest.raises(ValueError, match="values"):
            fingerprint.encode([[-1.0] * more] * questions)


@given(st.binary(min_size=32, max_size=32), st.lists(st.integers(0, 99), min_size=1, unique=True).map(sorted))
def test_the_short_tail_is_how_the_long_one_begins(seed: bytes, eligible: list[int]) -> None:
    short, long = (fingerprint.tail(seed, eligible, fingerprint.values_per_question(count)) for count in (MANY, FEW))
    assert (len(short), len(long)) == (3, 8)
    assert long[:3] == short
    assert all(set(step) <= set(eligible) for step in long)


@given(st.binary(max_size=2000), st.integers(0, 110))
def test_what_is_no_fingerprint_is_refused(data: bytes, questions: int) -> None:
    try:
        vector = fingerprint.decode(data, questions)
    except ValueError:
        assert len(data) != fingerprint.encoded_size(questions)
    else:
        assert b"".join(value.to_bytes(3, "big") for values in vector for value in values) == data
