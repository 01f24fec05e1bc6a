"""What a child process gives up, for good, before it looks at a model.

`confine` runs in a process that has imported everything and opened its files. It raises rather than leave out
something that the level promises; see `eval.sandbox` for the levels.
"""

import ctypes
import os
import resource
import struct
import sys
from collections.abc import Mapping, Sequence

from msgspec import Struct

from eval import bubblewrap, landlock, program_filter, seatbelt, seccomp

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_SIGKILL = 9
_CAPABILITY_VERSION_3 = 0x20080522
_SLACK_BYTES = 256 << 20  # address space that is reserved and never used: allocator arenas,
_SLACK_BYTES_A_CORE = 48 << 20  # stacks of two threads, and 32 MiB of OpenBLAS's, which ends the process without them
_OPEN_FILES = 256
_PROGRAM_OPEN_FILES = 32
_SECONDS_TO_END = 5


class Bounds(Struct, frozen=True):
    """Hard limits: bytes of address space beyond what is taken now and mapped files, and processor seconds."""

    memory: int
    mapped: int
    cpu_seconds: int


def confine(level: str, bounds: Bounds, files: Sequence[tuple[str, int]]) -> None:
    """Confines this process at `level`; `files` are paths with open descriptors that stay readable. Raises `OSError`.

    Memory and processor time are bounded at every level but `none`. What the system lacks of `in-process` is an error;
    under bubblewrap Landlock is an addition, as the file tree is confined already.
    """
    if level == "none":
        return
    _limit(bounds)
    _give_up_privileges()
    if level == "limits":
        return
    if sys.platform == "darwin":
        seatbelt.restrict([*bubblewrap.library_paths(), *(path for path, _ in files)])
        return
    if level == "in-process" or landlock.version():
        descriptors = [descriptor for _, descriptor in files]
        landlock.restrict([*bubblewrap.library_paths(), *descriptors], bubblewrap.devices())
    seccomp.refuse_calls()


def confine_program(level: str, memory: int, cpu_seconds: int) -> None:
    """Confines this process for a generated program: as `confine`, and it is left nothing but to read Python's library.

    No file can be written or made, no thread or process started, and of the system's calls only a list of allowed ones
    is left. `memory` is in bytes beyond what is taken now. Raises `OSError`.
    """
    if level == "none":
        return
    space = _address_space() + memory
    _set_limits(
        {
            resource.RLIMIT_CORE: (0, 0),
            resource.RLIMIT_FSIZE: (0, 0),
            resource.RLIMIT_NOFILE: (_PROGRAM_OPEN_FILES, _PROGRAM_OPEN_FILES),
            resource.RLIMIT_NPROC: (0, 0),
            resource.RLIMIT_CPU: (cpu_seconds, cpu_seconds + 1),
        }
        | ({} if sys.platform == "darwin" else {resource.RLIMIT_AS: (space, space)})
    )
    _give_up_privileges()
    if level == "limits":
        return
    if sys.platform == "darwin":
        seatbelt.restrict(bubblewrap.program_library())
        return
    if level == "in-process" or landlock.version():
        landlock.restrict(bubblewrap.program_library())
    program_filter.refuse_all_other_calls()


def end_with_parent() -> None:
    """Has the kernel end this process when the thread that started it ends (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)


def _limit(bounds: Bounds) -> None:
    wanted = {
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_FSIZE: (0, 0),
        resource.RLIMIT_NOFILE: (_OPEN_FILES, _OPEN_FILES),
        resource.RLIMIT_CPU: (bounds.cpu_seconds, bounds.cpu_seconds + _SECONDS_TO_END),
    }
    if sys.platform != "darwin" and not bubblewrap.has_gpu_engine():  # neither lives with a bounded address space
        space = (
            _address_space()
            + bounds.memory
            + bounds.mapped
            + _SLACK_BYTES
            + _SLACK_BYTES_A_CORE * (os.cpu_count() or 1)
        )
        wanted[resource.RLIMIT_AS] = (space, space)
    _set_limits(wanted)


def _set_limits(wanted: Mapping[int, tuple[int, int]]) -> None:
    for limit, (soft, hard) in wanted.items():
        _, hardest = resource.getrlimit(limit)
        most = max(hard, soft) if hardest == resource.RLIM_INFINITY else hardest
        resource.setrlimit(limit, (min(soft, most), min(hard, most)))


def _give_up_privileges() -> None:
    """No privileges by programs, no capabilities where there were some."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "no_new_privs was refused")
    header = ctypes.create_string_buffer(struct.pack("<Ii", _CAPABILITY_VERSION_3, 0), 8)
    if libc.capset(header, ctypes.create_string_buffer(24)):
        raise OSError(ctypes.get_errno(), "the capabilities could not be given up")


def _address_space() -> int:
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except (OSError, ValueError):
        return 0


def holds(level: str) -> str | None:
    """After `confine`: what can still be done that the level rules out, or None. Tries it."""
    if level in ("none", "limits"):
        return None
    import socket

    try:
        socket.socket().close()
    except OSError:
        pass
    else:
        return "a socket could be made"
    for path in ("/etc/passwd", os.path.expanduser("~")):
        try:
            os.close(os.open(path, os.O_RDONLY))
        except OSError:
            continue
        return f"{path} could be read"
    return None
