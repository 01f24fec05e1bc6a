"""Ranks: a new order of the pool for each epoch, model and purpose."""

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from protocol.hashing import digest
from protocol.parameters import MAIN
from protocol.runners import quorum_and_assigned, ranking
from protocol.tasks import Purpose

PEOPLE = [digest("test/account", n) for n in range(12)]
people = st.lists(st.sampled_from(PEOPLE), unique=True)


def rank(
    candidates: list[bytes],
    beacon: bytes = b"b" * 32,
    excluded: frozenset[bytes] = frozenset(),
    set_back: frozenset[bytes] = frozenset(),
    persons: dict[bytes, bytes] | None = None,
    purpose: Purpose = Purpose.REGULAR,
) -> tuple[bytes, ...]:
    return ranking(
        candidates,
        beacon=beacon,
        model=b"m" * 32,
        purpose=purpose,
        excluded=excluded,
        set_back=set_back,
        persons=persons,
        one_unattested=persons is not None,
    )


@given(people, people, people, st.randoms(use_true_random=False))
def test_everybody_but_the_excluded_has_one_rank_whatever_the_order_of_listing(
    candidates: list[bytes], excluded: list[bytes], late: list[bytes], random: Random
) -> None:
    found = rank(candidates, excluded=frozenset(excluded), set_back=frozenset(late))
    assert set(found) == set(candidates) - set(excluded)
    assert len(found) == len(set(found))
    shuffled = random.sample(candidates, len(candidates))
    assert rank(shuffled, excluded=frozenset(excluded), set_back=frozenset(late)) == found


@given(people, people)
def test_who_did_not_reveal_comes_after_all_others(candidates: list[bytes], late: list[bytes]) -> None:
    found = rank(candidates, set_back=frozenset(late))
    assert [account in late for account in found] == sorted(account in late for account in found)
    undisturbed = rank(candidates)
    assert [account for account in found if account not in late] == [a for a in undisturbed if a not in late]


def test_everybody_is_first_equally_often() -> None:
    first = Counter(rank(PEOPLE, beacon=digest("test/hour", n))[0] for n in range(2400))
    assert all(120 < first[account] < 280 for account in PEOPLE), "six standard deviations around 200"


def test_another_purpose_is_another_order() -> None:
    assert rank(PEOPLE, purpose=Purpose.AUDIT) != rank(PEOPLE)


@given(people, st.dictionaries(st.sampled_from(PEOPLE), st.sampled_from([b"x" * 32, b"y" * 32])))
def test_of_one_person_the_first_account_is_ranked(candidates: list[bytes], persons: dict[bytes, bytes]) -> None:
    found = rank(candidates, persons=persons)
    kept: set[bytes | None] = set()
    expected = []
    for account in rank(candidates):
        person = persons.get(account)
        if person not in kept:
            expected.append(account)
            kept.add(person)
    assert list(found) == expected, "one account a person; of those without attestation one in all"


def test_two_accounts_without_attestation_are_two_where_the_network_does_not_ask_for_it() -> None:
    persons = {PEOPLE[0]: b"x" * 32, PEOPLE[1]: b"x" * 32}
    found = ranking(
        PEOPLE[:4],
        beacon=bytes(32),
        model=bytes(32),
        purpose=Purpose.REGULAR,
        excluded=frozenset(),
        set_back=frozenset(),
        persons=persons,
    )
    assert len(found) == 3
    assert set(PEOPLE[2:4]) < set(found)


def test_where_nobody_is_attested_one_of_all_is_asked_if_the_network_asks_for_it() -> None:
    found = [
        ranking(
            PEOPLE,
            beacon=bytes(32),
            model=bytes(32),
            purpose=Purpose.REGULAR,
            excluded=frozenset(),
            set_back=frozenset(),
            one_unattested=one_unattested,
        )
        for one_unattested in (False, True)
    ]
    assert set(found[0]) == set(PEOPLE)
    assert found[1] == found[0][:1]


def test_quorum_and_assigned_follow_the_number_of_runners() -> None:
    at_three = [quorum_and_assigned(n, 3, MAIN) for n in range(8)]
    assert at_three == [(3, 0), (3, 0), (3, 0), (3, 3), (3, 4), (3, 5), (3, 5), (3, 5)]
    assert quorum_and_assigned(7, 5, MAIN) == (4, 7), "fewer than nine: all of them, and their majority"
    assert quorum_and_assigned(9, 5, MAIN) == (5, 9)


@given(st.integers(0, 40), st.integers(3, 6))
def test_a_quorum_is_always_a_majority_of_the_assigned(available: int, quorum: int) -> None:
    wanted, assigned = quorum_and_assigned(available, quorum, MAIN)
    assert assigned in {0, min(available, 2 * quorum - 1)}
    assert wanted >= 3
    assert not assigned or 2 * wanted > assigned >= wanted
