"""The quick way to agreeing fingerprints is the definition's."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from protocol import fingerprint
from protocol.agreement import Agreement

QUESTIONS = 2
base = st.lists(st.integers(0, 6000), min_size=32, max_size=32)
shifts = st.lists(st.integers(-40, 40), min_size=32, max_size=32)


def encoded(values: Sequence[int]) -> bytes:
    return b"".join(min((1 << 24) - 1, max(0, value)).to_bytes(3, "big") for value in values)


@st.composite
def fingerprints(draw: st.DrawFn) -> list[bytes]:
    """Up to seven, in up to three camps, nearer to or further from their camp's middle: around the tolerance."""
    camps = draw(st.lists(base, min_size=1, max_size=3))
    found = []
    for _ in range(draw(st.integers(1, 7))):
        camp = draw(st.sampled_from(camps))
        scale = draw(st.sampled_from([0, 1, 1, 2, 4]))
        found.append(encoded([value + scale * shift for value, shift in zip(camp, draw(shifts), strict=True)]))
    return found


@given(fingerprints(), st.sampled_from([8, 14, 55]))
def test_the_largest_set_is_the_definitions(found: list[bytes], tolerance: int) -> None:
    vectors = [fingerprint.decode(data) for data in found]
    expected = fingerprint.largest_agreeing(vectors, tolerance)
    agreement = Agreement(found, tolerance)
    assert agreement.largest(len(found)) == expected
    for index in range(len(found)):
        if expected and index not in expected:
            every = all(fingerprint.agree(vectors[index], vectors[member], tolerance) for member in expected)
            assert agreement.joins(index, expected) == every


@given(fingerprints(), st.sampled_from([8, 55]), st.data())
def test_pairs_agree_as_they_are_defined_to(found: list[bytes], tolerance: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(found) - 1))
    second = data.draw(st.integers(0, len(found) - 1))
    vectors = [fingerprint.decode(item) for item in found]
    expected = fingerprint.agree(vectors[first], vectors[second], tolerance)
    assert Agreement(found, tolerance).agree(first, second) == expected


@given(fingerprints(), st.sampled_from([8, 55]))
def test_a_part_of_them_is_searched_like_the_whole(found: list[bytes], tolerance: int) -> None:
    for count in range(len(found) + 1):
        vectors = [fingerprint.decode(data) for data in found[:count]]
        assert Agreement(found, tolerance).largest(count) == fingerprint.largest_agreeing(vectors, tolerance)
