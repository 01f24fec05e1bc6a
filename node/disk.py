"""Pausing while the disk is full, and going on by itself when it is not."""

import errno
import os
from functools import partial
from pathlib import Path

import trio

from node.offload import offload
from node.pauses import DISK_FULL, Pauses

PROBE_SECONDS = 5.0
PROBE_BYTES = 256 * 1024


def has_space(folder: Path, least_free: int) -> bool:
    """Whether `folder`'s disk has `least_free` bytes and takes a small file. Raises `OSError` for other troubles."""
    status = os.statvfs(folder)
    if status.f_bavail * status.f_frsize < least_free:
        return False
    probe = folder / f"probe-{os.getpid()}"
    try:
        probe.write_bytes(bytes(PROBE_BYTES))
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            return False
        raise
    finally:
        probe.unlink(missing_ok=True)
    return True


async def watch_disk(folder: Path, least_free: int, pauses: Pauses) -> None:
    """Look every few seconds, until cancelled."""
    while True:
        if await offload(partial(has_space, folder, least_free)):
            pauses.end(DISK_FULL)
        else:
            pauses.begin(DISK_FULL)
        await trio.sleep(PROBE_SECONDS)
