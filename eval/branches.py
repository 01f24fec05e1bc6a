"""How the choices of a question go through the cache behind their prompt: as one tree, or each as a line.

In a tree the tokens that choices begin with alike are decoded once, for the sequences of all of them: of TruthfulQA's
choices every fourth token. A choice's last token is never decoded, only looked up.
"""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

Numbers = NDArray[np.int32]


class Tree(Struct, frozen=True):
    """Tokens from the prompt on, each behind the one that it follows; each way down ends in one of `leaves`.

    Token `i` lies `depths[i]` tokens behind the prompt, on the ways to `counts[i]` leaves from number `first[i]` on.
    After token `places[j]`, ascending, `targets[j]` is looked up; `terms` tells which of these log-probabilities make
    up that of each choice, its first token's left out, by the choice's number.
    """

    tokens: Numbers
    depths: Numbers
    first: Numbers
    counts: Numbers
    leaves: int
    targets: Numbers
    places: Numbers
    terms: dict[int, list[int]]


def trees(choices: Sequence[Sequence[int]], *, coupled: bool) -> list[Tree]:
    """One tree of all choices, given as token ids, or with a cache that cannot be `coupled` a line for each.

    Choices of a single token need none.
    """
    longer = [number for number, choice in enumerate(choices) if len(choice) > 1]
    if coupled:
        return [_tree(choices, longer)] if longer else []
    return [_tree(choices, [number]) for number in longer]


def _tree(choices: Sequence[Sequence[int]], numbers: Sequence[int]) -> Tree:
    """In order of their tokens choices come leaf by leaf: each leaves the way of the one before, or goes on with it."""
    tokens: list[int] = []
    depths: list[int] = []
    first: list[int] = []
    past: list[int] = []
    way: list[int] = []  # places of the tokens from the prompt to the last choice's end
    leaf = 0
    steps: dict[int, list[tuple[int, int]]] = {}
    for decoded, number in sorted((tuple(choices[number][:-1]), number) for number in numbers):
        alike = 0
        while alike < len(way) and tokens[way[alike]] == decoded[alike]:
            alike += 1
        if alike < len(way):
            leaf += 1
            for place in way[alike:]:
                past[place] = leaf
            del way[alike:]
        for depth in range(alike, len(decoded)):
            way.append(len(tokens))
            tokens.append(decoded[depth])
            depths.append(depth)
            first.append(leaf)
            past.append(leaf)
        steps[number] = list(zip(way, choices[number][1:], strict=True))
    for place in way:
        past[place] = leaf + 1
    looked_up = sorted({step for taken in steps.values() for step in taken})
    index = {step: place for place, step in enumerate(looked_up)}
    places, targets = zip(*looked_up, strict=True)
    starts = _numbers(first)
    return Tree(
        tokens=_numbers(tokens),
        depths=_numbers(depths),
        first=starts,
        counts=_numbers(past) - starts,
        leaves=leaf + 1,
        targets=_numbers(targets),
        places=_numbers(places),
        terms={number: [index[step] for step in taken] for number, taken in steps.items()},
    )


def _numbers(values: Sequence[int]) -> Numbers:
    return np.array(values, np.int32)
