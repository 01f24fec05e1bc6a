"""What people hear of downloads: enough to see how far they are, and nothing once they are over."""

import trio
import trio.testing

from eval.hub import Fetching
from node.downloads import Downloads


async def heard(*said: Fetching) -> list[Fetching | None]:
    """What is told of what a thread says in one go."""
    told: list[Fetching | None] = []
    downloads = Downloads(told.append)

    def speak() -> None:
        for fetching in said:
            downloads(fetching)

    await trio.to_thread.run_sync(speak)
    await trio.testing.wait_all_tasks_blocked()
    downloads.end()
    downloads(Fetching("late", 1, 1))
    await trio.testing.wait_all_tasks_blocked()
    return told


async def test_the_first_and_the_last_bytes_are_told() -> None:
    told = await heard(*(Fetching("file", done, 9) for done in (1, 2, 3, 9)))
    assert told == [Fetching("file", 1, 9), Fetching("file", 9, 9), None]


async def test_that_the_hub_asks_to_wait_is_told_at_once() -> None:
    waiting = [Fetching("file", 0, 0, 43.0), Fetching("file", 1, 9), Fetching("file", 2, 9, 20.0)]
    assert await heard(*waiting) == [*waiting, None]


async def test_without_a_download_nothing_is_told() -> None:
    assert await heard() == []
