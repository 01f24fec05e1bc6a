"""All largest sets of vertices of a small graph in which every two are joined.

The search goes through the maximal cliques (Bron and Kerbosch 1973) with the pivot of Tomita, Tanaka and Takahashi
(2006), whose worst case over all graphs of n vertices is 3^(n/3), the number of maximal cliques that a graph can have
(Moon and Moser 1965). With the at most 19 results that can count in a task (`parameters.QUORUM_MAX`) that is 1,053.
"""

from collections.abc import Iterator, Sequence


def largest_cliques(joined: Sequence[int]) -> list[tuple[int, ...]]:
    """The largest cliques, each in ascending order; one empty one for no vertices.

    `joined`: for each vertex the set of those that it is joined with, as bits; symmetric, itself not among them.
    """
    found = list(maximal_cliques(joined))
    most = max(map(int.bit_count, found))
    return sorted(tuple(members(clique)) for clique in found if clique.bit_count() == most)


def maximal_cliques(joined: Sequence[int]) -> Iterator[int]:
    """Every clique to which no vertex can be added, once, as bits; one step of work for each set on the stack."""
    stack = [(0, (1 << len(joined)) - 1, 0)]
    while stack:
        clique, candidates, done = stack.pop()
        if not candidates:
            if not done:
                yield clique
            continue
        pivot = max(members(candidates | done), key=lambda vertex: (candidates & joined[vertex]).bit_count())
        for vertex in members(candidates & ~joined[pivot]):
            bit = 1 << vertex
            stack.append((clique | bit, candidates & joined[vertex], done & joined[vertex]))
            candidates &= ~bit
            done |= bit


def members(bits: int) -> Iterator[int]:
    """The vertices of a set, ascending."""
    while bits:
        lowest = bits & -bits
        yield lowest.bit_length() - 1
        bits ^= lowest
