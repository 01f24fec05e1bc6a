"""Work that C does without Python's lock, such as making tokens: several threads do it at once."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Found = TypeVar("Found")


def in_threads(threads: int, work: Callable[[Item], Found], items: Iterable[Item]) -> list[Found]:
    """What `work` makes of each item, in their order. Raises what it raised for the first that went wrong."""
    if threads == 1:
        return [work(item) for item in items]
    with ThreadPoolExecutor(threads, "tokens") as pool:
        return list(pool.map(work, items))
