"""The largest cliques of small graphs: all of them, and never more work than the worst graph needs."""

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.cliques import largest_cliques, maximal_cliques
from protocol.parameters import QUORUM_MAX

MOST = 2 * (QUORUM_MAX + 2) - 1


class Counted(list[int]):
    """Rows of a graph that count how often one is looked at."""

    looks = 0

    def __getitem__(self, place: int) -> int:  # type: ignore[override]
        self.looks += 1
        return super().__getitem__(place)


def graph(count: int, edges: Sequence[tuple[int, int]]) -> Counted:
    joined = Counted([0] * count)
    for one, other in edges:
        list.__setitem__(joined, one, list.__getitem__(joined, one) | 1 << other)
        list.__setitem__(joined, other, list.__getitem__(joined, other) | 1 << one)
    return joined


def allowed(count: int) -> float:
    """Looks at rows: so many for each of the most maximal cliques that a graph of this size can have."""
    return 4 * max(1, count) * 3 ** (count / 3)


def groups(count: int, size: int) -> list[tuple[int, int]]:
    """All edges between groups of `size`, none within: with three, the graphs with most maximal cliques."""
    return [pair for pair in itertools.combinations(range(count), 2) if pair[0] // size != pair[1] // size]


@st.composite
def graphs(draw: st.DrawFn, most: int) -> Counted:
    count = draw(st.integers(0, most))
    pairs = list(itertools.combinations(range(count), 2))
    bits = draw(st.integers(0, (1 << len(pairs)) - 1))
    flip = draw(st.sampled_from([0, (1 << len(pairs)) - 1]))
    thin = bits & draw(st.integers(0, (1 << len(pairs)) - 1)) ^ flip
    return graph(count, [pair for place, pair in enumerate(pairs) if thin >> place & 1])


@given(graphs(7))
def test_they_are_the_largest_sets_joined_pairwise(joined: Counted) -> None:
    count = len(joined)
    cliques = [
        members
        for size in range(count + 1)
        for members in itertools.combinations(range(count), size)
        if all(joined[i] >> j & 1 for i, j in itertools.combinations(members, 2))
    ]
    most = max(map(len, cliques))
    assert largest_cliques(joined) == [members for members in cliques if len(members) == most]


@given(graphs(MOST))
def test_no_graph_needs_more_steps_than_the_worst(joined: Counted) -> None:
    found = list(maximal_cliques(joined))
    assert len(found) == len(set(found)) <= 3 ** (len(joined) / 3) + 1
    assert joined.looks <= allowed(len(joined))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, MOST])
@pytest.mark.parametrize("count", [0, 1, MOST - 1, MOST])
def test_graphs_with_many_cliques_are_within_bounds(count: int, size: int) -> None:
    joined = graph(count, groups(count, size))
    found = largest_cliques(joined)
    assert joined.looks <= allowed(count)
    if count == MOST - 1 and size == 3:
        assert len(found) == 3 ** (count // 3) == 729
