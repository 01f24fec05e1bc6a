"""Digests made from pieces are the defined ones."""

from hypothesis import given
from hypothesis import strategies as st

from protocol.hashing import DIGEST, DIGEST_BYTES, around, continued, digest
from protocol.tasks import Purpose

digests = st.binary(min_size=DIGEST_BYTES, max_size=DIGEST_BYTES)
others = st.one_of(st.none(), st.booleans(), st.integers(0, 1), st.integers(), st.sampled_from(Purpose), st.text())
small = others.filter(lambda part: not isinstance(part, int) or abs(part) < 1 << 63)


@given(st.lists(st.tuples(st.booleans(), digests, small), max_size=30))
def test_the_pieces_and_what_lies_between_them_are_what_is_hashed(parts: list[tuple[bool, bytes, object]]) -> None:
    named = [DIGEST if is_digest else other for is_digest, _, other in parts]
    whole = [each if is_digest else other for is_digest, each, other in parts]
    start, *rest = around("peerboard/test/1", *named)
    between = [each for is_digest, each, _ in parts if is_digest]
    behind = b"".join(each + piece for each, piece in zip(between, rest, strict=True))
    assert continued(start)(behind) == digest("peerboard/test/1", *whole)
