"""The system calls that are left to a generated program: a list of what is allowed, unlike the evaluator's own filter.

Pure Python needs few: memory, files that are open or are opened to be read, clocks. No process or thread can be made,
no program started, no socket opened, nothing in the file system changed, and signals reach the process itself only.
"""

import errno
import os
import platform

from eval import seccomp

# name: (x86_64, aarch64); None where the architecture does not have it
_ALLOWED = {
    "read": (0, 63), "write": (1, 64), "close": (3, 57), "stat": (4, None), "fstat": (5, 80), "lstat": (6, None),
    "newfstatat": (262, 79), "statx": (332, 291), "poll": (7, None), "ppoll": (271, 73), "select": (23, None),
    "pselect6": (270, 72), "lseek": (8, 62), "pread64": (17, 67), "readv": (19, 65), "writev": (20, 66),
    "access": (21, None), "faccessat": (269, 48), "faccessat2": (439, 439), "getdents64": (217, 61),
    "readlink": (89, None), "readlinkat": (267, 78), "getcwd": (79, 17), "dup": (32, 23), "dup2": (33, None),
    "dup3": (292, 24), "mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215),
    "brk": (12, 214), "mremap": (25, 216), "madvise": (28, 233), "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "sigaltstack": (131, 132), "restart_syscall": (219, 128),
    "getrandom": (318, 278), "clock_gettime": (228, 113), "clock_getres": (229, 114), "clock_nanosleep": (230, 115),
    "nanosleep": (35, 101), "gettimeofday": (96, 169), "time": (201, None), "times": (100, 153),
    "getrusage": (98, 165), "getitimer": (36, 102), "setitimer": (38, 103), "alarm": (37, None), "exit": (60, 93),
    "exit_group": (231, 94), "futex": (202, 98), "rseq": (334, 293), "membarrier": (324, 283), "getpid": (39, 172),
    "getppid": (110, 173), "gettid": (186, 178), "getuid": (102, 174), "geteuid": (107, 175), "getgid": (104, 176),
    "getegid": (108, 177), "getgroups": (115, 158), "getpgrp": (111, None), "uname": (63, 160), "sysinfo": (99, 179),
    "getrlimit": (97, 163), "sched_yield": (24, 124), "sched_getaffinity": (204, 123),
}  # fmt: skip
_OPENING = {"open": ((2, None), 1), "openat": ((257, 56), 2)}  # with the place of the flags among the arguments
_ON_ITSELF = {"kill": (62, 129), "tgkill": (234, 131)}
_LIMITS, _CONTROL = (302, 261), (16, 29)  # prlimit64, ioctl


def refuse_all_other_calls() -> None:
    """Installs the filter. Needs "no new privileges". Raises `OSError`."""
    if not seccomp.available():
        raise OSError(errno.EOPNOTSUPP, f"no table of system calls for {platform.machine()}")
    machine, own = platform.machine(), os.getpid()
    column = seccomp.column(machine)
    program = seccomp.preamble(machine)
    for numbers in _ALLOWED.values():
        number = numbers[column]
        if number is not None:
            program += seccomp.answered(number, seccomp.ALLOW)
    for pair in _ON_ITSELF.values():
        program += seccomp.rule(pair[column], [(0, seccomp.JUMP_EQUAL, own)], seccomp.refused(errno.EPERM))
    program += seccomp.rule(
        _LIMITS[column], [(4, seccomp.JUMP_EQUAL, 0), (5, seccomp.JUMP_EQUAL, 0)], seccomp.refused(errno.EPERM)
    )
    program += seccomp.unless_one_of(seccomp.FILE_CONTROL[column], 1, seccomp.OWNERS, seccomp.refused(errno.EPERM))
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
    for numbers, place in _OPENING.values():
        number = numbers[column]
        if number is not None:
            program += seccomp.unless_any_bit(number, place, writing, seccomp.refused(errno.EACCES))
    # what a terminal would be asked; the interpreter takes this answer for "it is none"
    program += seccomp.answered(_CONTROL[column], seccomp.refused(errno.ENOTTY))
    seccomp.install([*program, seccomp.answer(seccomp.refused(errno.EPERM))])
