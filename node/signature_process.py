"""Checks envelopes' signatures in a process of its own: `python -I -m node.signature_process NETWORK`, its id in hex.

On its standard input come entry bundles, each behind its length and the number of its entries; for each it answers, in
order, how many of the first entries are well signed: all of them, or the place of one that somebody has to look at.
"""

import contextlib
import fcntl
import signal
import struct
import sys
from typing import BinaryIO

from protocol.envelope import check_signatures
from protocol.rejections import Rejected
from protocol.tiles import decode_bundle

HEAD = struct.Struct(">IH")
ANSWER = struct.Struct(">H")
PIPE_BYTES = 1 << 20


def well_signed(entries: list[bytes], network: bytes) -> int:
    """How many of the first entries are well signed."""
    for place, entry in enumerate(entries):
        try:
            check_signatures(entry, network)
        except Rejected:
            return place
    return len(entries)


def answer(asked: BinaryIO, told: BinaryIO, network: bytes) -> None:
    """Answer until there is nothing more to read."""
    while len(head := asked.read(HEAD.size)) == HEAD.size:
        length, width = HEAD.unpack(head)
        told.write(ANSWER.pack(well_signed(decode_bundle(asked.read(length), width), network)))
        told.flush()


def main() -> None:
    """End with the standard input, and not with an interrupt of the terminal, which is for the daemon."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":  # elsewhere they grow by themselves
        with contextlib.suppress(OSError):
            fcntl.fcntl(0, fcntl.F_SETPIPE_SZ, PIPE_BYTES)  # room for whole bundles: the daemon has other things to do
    answer(sys.stdin.buffer, sys.stdout.buffer, bytes.fromhex(sys.argv[1]))


if __name__ == "__main__":
    main()
