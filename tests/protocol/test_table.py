"""Tables whose digest follows what is set."""

from hypothesis import given
from hypothesis import strategies as st

from protocol.table import Table

changes = st.lists(st.tuples(st.integers(0, 40), st.one_of(st.none(), st.binary(max_size=3))))


def fold(steps: list[tuple[int, bytes | None]], every: int) -> Table[int, bytes]:
    """Set a record, or delete it for None; ask for the digest now and then, which must not matter."""
    table: Table[int, bytes] = Table()
    for number, (key, record) in enumerate(steps):
        if record is None:
            table.pop(key, None)
        else:
            table[key] = record
        if number % every == 0:
            table.digest()
    return table


@given(changes, st.integers(1, 5))
def test_the_digest_depends_on_the_content_and_not_on_the_way_there(
    steps: list[tuple[int, bytes | None]], every: int
) -> None:
    one, other = fold(steps, every), Table[int, bytes]()
    for key in sorted(one, reverse=True):
        other[key] = one[key]
    assert dict(one) == dict(other)
    assert one.digest() == other.digest()


@given(st.lists(st.integers(0, 9)), st.integers())
def test_keys_may_share_a_record(keys: list[int], record: int) -> None:
    shared, own = Table[int, tuple[int, ...]](), Table[int, tuple[int, ...]]()
    one = (record % 1000, 1)
    for key in keys:
        shared[key] = one
        own[key] = (record % 1000, *one[1:])
    assert shared.digest() == own.digest()
    assert shared.copy() == dict(own) == dict(shared.items())


@given(changes, changes)
def test_different_content_has_different_digests(
    first: list[tuple[int, bytes | None]], second: list[tuple[int, bytes | None]]
) -> None:
    one, other = fold(first, 1), fold(second, 2)
    assert (one.digest() == other.digest()) == (dict(one) == dict(other))
