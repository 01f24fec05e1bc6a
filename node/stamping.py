"""Finds work stamps in a process of its own, at the lowest priority: `python -I -m node.stamping` and four arguments.

The search holds the interpreter for seconds, so that a thread would stop the event loop.
"""

import os
import subprocess
import sys

import trio

from node.offload import inline
from protocol.stamps import find_stamp

LOWEST_PRIORITY = 19


class StampingFailed(Exception):
    """The process that was to find a stamp ended without one; the text says how."""


async def find(network: bytes, device: bytes, epoch: int, seconds: int) -> bytes:
    """A stamp for this device's profile of this epoch. Cancelling ends the search. Raises `StampingFailed`."""
    if inline.get():
        await trio.lowlevel.checkpoint()
        return find_stamp(network, device, epoch, seconds)
    arguments = [network.hex(), device.hex(), str(epoch), str(seconds)]
    ended = await trio.run_process(
        [sys.executable, "-I", "-m", "node.stamping", *arguments],
        capture_stdout=True,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    if ended.returncode:
        raise StampingFailed(f"The search for a work stamp ended with status {ended.returncode}.")
    return bytes.fromhex(ended.stdout.decode("ascii"))


def main() -> None:
    """Print the stamp in hex."""
    os.nice(LOWEST_PRIORITY)
    network, device, epoch, seconds = sys.argv[1:]
    print(find_stamp(bytes.fromhex(network), bytes.fromhex(device), int(epoch), int(seconds)).hex())


if __name__ == "__main__":
    main()
