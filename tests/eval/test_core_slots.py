"""Slots of cores: as many jobs at once as there are cores, whoever runs them and however they end."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import trio
import trio.testing

from eval import cores
from eval.cores import CoreSlots, usable_cores
from eval.user_folder import UserFolderUnavailable


async def test_a_job_gets_what_is_free_and_at_least_one(tmp_path: Path) -> None:
    slots = CoreSlots(tmp_path / "cores", 4)
    async with slots.take(3) as first, slots.take(3) as second:
        assert (first, second) == (3, 1)
    async with slots.take(9) as every:
        assert every == 4
    async with slots.take(0) as one:
        assert one == 1


@pytest.mark.skipif(sys.platform != "linux", reason="counts this process's open files by Linux's /proc")
async def test_waiting_leaves_no_file_open(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    slots = CoreSlots(tmp_path / "cores", 1)
    async with slots.take(1):
        before = len(os.listdir("/proc/self/fd"))
        with trio.move_on_after(5):
            await slots.acquire(1)
        assert len(os.listdir("/proc/self/fd")) == before


async def test_never_more_threads_than_cores_and_everybody_gets_a_turn(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    running = most = finished = 0

    async def job(wanted: int) -> None:
        nonlocal running, most, finished
        async with CoreSlots(tmp_path / "cores", 2).take(wanted) as threads:
            running += threads
            most = max(most, running)
            await trio.sleep(1)
            running -= threads
            finished += 1

    async with trio.open_nursery() as nursery:
        for number in range(12):
            nursery.start_soon(job, 1 + number % 3)
    assert most == 2
    assert finished == 12


async def test_cancelled_waiting_leaves_nothing_taken(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    slots = CoreSlots(tmp_path / "cores", 1)
    async with slots.take(1):
        with trio.move_on_after(5) as waited:
            await slots.acquire(1)
        assert waited.cancelled_caught
    async with slots.take(1) as threads:
        assert threads == 1


async def test_who_has_to_wait_is_told_once(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    told: list[float] = []
    slots = CoreSlots(tmp_path / "cores", 1, lambda: told.append(trio.current_time()))
    held = await slots.acquire(1)
    assert told == []
    async with trio.open_nursery() as nursery:
        for _ in range(2):  # one waits for the slot, the other for its turn to wait
            nursery.start_soon(wait_and_release, slots)
        await trio.sleep(1)
        assert len(told) == 2
        held.release()


async def wait_and_release(slots: CoreSlots) -> None:
    (await slots.acquire(1)).release()


async def test_slots_are_given_back_once_only(tmp_path: Path) -> None:
    slots = CoreSlots(tmp_path / "cores", 1)
    held = await slots.acquire(1)
    held.release()
    async with slots.take(1):
        held.release()
        with trio.move_on_after(0.2):
            await slots.acquire(1)
            pytest.fail("a slot was given back twice")


def hold(folder: Path) -> subprocess.Popen[bytes]:
    """A process that takes the one slot, says so in a line, and keeps it."""
    program = (
        "import sys, trio; from pathlib import Path; from eval.cores import CoreSlots\n"
        f"held = trio.run(CoreSlots(Path({str(folder)!r}), 1).acquire, 1)\n"
        "print('held', flush=True); sys.stdin.read()"
    )
    return subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


async def test_a_killed_holder_loses_its_slots(tmp_path: Path) -> None:
    folder = tmp_path / "cores"
    holder = hold(folder)
    try:
        assert holder.stdout is not None
        await trio.to_thread.run_sync(holder.stdout.readline)
        slots = CoreSlots(folder, 1)
        with trio.move_on_after(0.2) as waited:
            (await slots.acquire(1)).release()
        assert waited.cancelled_caught
        holder.send_signal(signal.SIGKILL)
        with trio.fail_after(10):
            async with slots.take(1) as threads:
                assert threads == 1
    finally:
        holder.kill()
        holder.communicate()


def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(UserFolderUnavailable):
        CoreSlots(folder, 1)


def test_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(UserFolderUnavailable):
        CoreSlots(tmp_path / "link", 1)


@pytest.mark.parametrize(
    ("quota", "physical", "expected"),
    [
        ("max 100000", 3, 3),
        ("200000 100000", 3, 2),
        ("250000 100000", 3, 2),
        ("50000 100000", 3, 1),
        ("max 100000", None, 5),
        ("", 4, 4),
        ("nonsense", 4, 4),
    ],
)
def test_cores_are_physical_ones_within_the_groups_quota(
    quota: str, physical: int | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(5)), raising=False)
    monkeypatch.setattr(cores, "psutil", SimpleNamespace(cpu_count=lambda logical: None if logical else physical))
    monkeypatch.setattr(cores, "Path", lambda _: SimpleNamespace(read_text=lambda encoding: quota))
    assert usable_cores() == expected


def test_cores_are_within_reason() -> None:
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
