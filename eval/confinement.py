"""What keeps a hostile model inside its child process.

In force now, everywhere it exists: no new privileges, no core dumps, no file written, no more address space than the
job may use. `confine` runs once, before a model is touched; `limit_memory` before each job. Stronger means (namespaces,
Landlock, a filter of system calls) belong into `confine`, which names what is in force.
"""

import contextlib
import ctypes
import resource
import sys

_PR_SET_NO_NEW_PRIVS = 38
_SLACK_BYTES = 1 << 30  # address space that is reserved and never used: thread stacks, allocator arenas


def confine() -> str:
    """Applies what can be had for the life of this process. Returns the level's name."""
    for limit in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(limit, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    return "rlimits"


def limit_memory(limit: int, mapped: int) -> None:
    """Bounds the address space: what is taken now, `limit` bytes more, and `mapped` bytes of files."""
    wanted = _address_space() + limit + mapped + _SLACK_BYTES
    with contextlib.suppress(ValueError, OSError):  # not every system lets this be set
        _, hardest = resource.getrlimit(resource.RLIMIT_AS)
        if hardest != resource.RLIM_INFINITY:
            wanted = min(wanted, hardest)
        resource.setrlimit(resource.RLIMIT_AS, (wanted, hardest))


def _address_space() -> int:
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except (OSError, ValueError):
        return 0
