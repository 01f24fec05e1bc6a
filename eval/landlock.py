"""Landlock: a process gives up, for good, all files but those it names (Linux 5.13 and newer).

Spoken to through `syscall`, as glibc has no wrappers; structures and numbers are those of `linux/landlock.h`, and the
same on every processor.
"""

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Iterable

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG = 1
_PATH_BENEATH = 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_TRUNCATE, _IOCTL_DEVICE = 1 << 14, 1 << 15
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEVICE
_FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
_ALL_FILE_RIGHTS = (1 << 16) - 1
_CONNECT_AND_BIND_TCP = 3
_SCOPE_SOCKETS_AND_SIGNALS = 3

_libc = ctypes.CDLL(None, use_errno=True)


def version() -> int:
    """The kernel's Landlock ABI, 0 where there is none or it is switched off."""
    try:
        return _call(_CREATE_RULESET, None, 0, _VERSION_FLAG)
    except OSError:
        return 0


def restrict(readable: Iterable[str | int], devices: Iterable[str] = ()) -> int:
    """From here on only files at or beneath `readable` (paths or open descriptors) can be opened, to be read.

    Files of `devices` can be written to as well. Neither TCP nor signals leave the process where the kernel has that
    (ABI 4 and 6). Needs "no new privileges". Returns the ABI. Raises `OSError`.
    """
    abi = version()
    if abi == 0:
        raise OSError(errno.EOPNOTSUPP, "this kernel has no Landlock")
    handled = _FILE_RIGHTS.get(abi, _ALL_FILE_RIGHTS)
    attributes = struct.pack("<QQQ", handled, _CONNECT_AND_BIND_TCP, _SCOPE_SOCKETS_AND_SIGNALS)
    size = 8 if abi < 4 else 16 if abi < 6 else 24
    ruleset = _call(_CREATE_RULESET, ctypes.create_string_buffer(attributes[:size], size), size, 0)
    try:
        for place in readable:
            _allow(ruleset, place, handled & (_READ_FILE | _READ_DIR))
        for device in devices:
            _allow(ruleset, device, handled & (_READ_FILE | _READ_DIR | _WRITE_FILE | _IOCTL_DEVICE))
        _call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return abi


def _allow(ruleset: int, place: str | int, rights: int) -> None:
    descriptor = place if isinstance(place, int) else os.open(place, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= _OF_FILES
        rule = struct.pack("<Qi", rights, descriptor)
        _call(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.create_string_buffer(rule, len(rule)), 0)
    finally:
        if descriptor is not place:
            os.close(descriptor)


def _call(number: int, *arguments: object) -> int:
    values = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    result: int = _libc.syscall(ctypes.c_long(number), *values)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
