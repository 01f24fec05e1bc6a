"""A filter of system calls: what an evaluation never needs is answered with "not permitted".

A list of what is refused, not of what is allowed: libraries and drivers differ too much in what they call. With no new
socket, no new program and no new process there is little left that reaches out of the process. The filter is a
classic BPF program (`linux/seccomp.h`, `linux/filter.h`); a call of another architecture's table ends the process.
"""

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Sequence

_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2
JUMP_EQUAL, JUMP_ANY_BIT = 0x15, 0x45
_LOAD, _JUMP_AT_LEAST, _RETURN = 0x20, 0x35, 0x06
ALLOW = 0x7FFF0000
_KILL, _ERROR = 0x80000000, 0x00050000
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_CLONE_THREAD = 0x10000
_X32_BIT = 0x40000000
_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# name: (x86_64, aarch64); None where the architecture does not have it
_NETWORK = {
    "socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201),
    "accept": (43, 202), "accept4": (288, 242), "sendto": (44, 206), "sendmsg": (46, 211), "sendmmsg": (307, 269),
}  # fmt: skip
_PROGRAMS = {"execve": (59, 221), "execveat": (322, 281), "fork": (57, None), "vfork": (58, None)}
_OTHER_PROCESSES = {
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424), "tkill": (200, 130),
    "process_madvise": (440, 440), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "setpriority": (141, 140), "ioprio_set": (251, 30), "setsid": (112, 157), "setpgid": (109, 154),
    "sched_setparam": (142, 118), "sched_setscheduler": (144, 119), "sched_setattr": (314, 274),
    "migrate_pages": (256, 238), "move_pages": (279, 239),
}  # fmt: skip
_SHARED = {  # System V's and POSIX's means to reach another process: names of their own, no files
    "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195), "semget": (64, 190), "semop": (65, 193),
    "semtimedop": (220, 192), "semctl": (66, 191), "msgget": (68, 186), "msgsnd": (69, 189), "msgrcv": (70, 188),
    "msgctl": (71, 187), "mq_open": (240, 180), "mq_unlink": (241, 181),
}  # fmt: skip
_KERNEL = {
    "mount": (165, 40), "umount2": (166, 39), "move_mount": (429, 429), "open_tree": (428, 428), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "pivot_root": (155, 41), "chroot": (161, 51), "unshare": (272, 97), "setns": (308, 268), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "add_key": (248, 217), "request_key": (249, 218),
    "keyctl": (250, 219), "kexec_load": (246, 104), "kexec_file_load": (320, 294), "init_module": (175, 105),
    "finit_module": (313, 273), "delete_module": (176, 106), "reboot": (169, 142), "swapon": (167, 224),
    "swapoff": (168, 225), "sethostname": (170, 161), "setdomainname": (171, 162), "settimeofday": (164, 170),
    "clock_settime": (227, 112), "clock_adjtime": (305, 266), "adjtimex": (159, 171), "acct": (163, 89),
    "quotactl": (179, 60), "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264), "iopl": (172, None),
    "ioperm": (173, None), "syslog": (103, 116), "personality": (135, 92), "fanotify_init": (300, 262),
    "capset": (126, 91), "setuid": (105, 146), "setgid": (106, 144), "setreuid": (113, 145), "setregid": (114, 143),
    "setresuid": (117, 147), "setresgid": (119, 149), "setgroups": (116, 159), "setfsuid": (122, 151),
    "setfsgid": (123, 152), "setrlimit": (160, 164), "memfd_create": (319, 279), "memfd_secret": (447, 447),
}  # fmt: skip
_ATTRIBUTES = {  # Landlock does not cover these
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, None),
    "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54), "utime": (132, None), "utimes": (235, None),
    "futimesat": (261, None), "utimensat": (280, 88), "truncate": (76, 45), "setxattr": (188, 5),
    "lsetxattr": (189, 6), "fsetxattr": (190, 7), "removexattr": (197, 14), "lremovexattr": (198, 15),
    "fremovexattr": (199, 16), "link": (86, None), "linkat": (265, 37), "symlink": (88, None),
    "symlinkat": (266, 36), "mkdir": (83, None), "mkdirat": (258, 34), "mknod": (133, None), "mknodat": (259, 33),
    "rename": (82, None), "renameat": (264, 38), "renameat2": (316, 276), "unlink": (87, None), "unlinkat": (263, 35),
    "rmdir": (84, None), "creat": (85, None),
}  # fmt: skip
_KILL_CALLS = {"kill": (62, 129), "tgkill": (234, 131)}  # allowed to the process itself: `abort` needs it
_CLONE, _CLONE3, _PRLIMIT = (56, 220), (435, 435), (302, 261)
FILE_CONTROL, _DEVICE_CONTROL = (72, 25), (16, 29)  # fcntl, ioctl
OWNERS = (8, 10, 15)
"""`F_SETOWN`, `F_SETSIG`, `F_SETOWN_EX`: they have the kernel send any signal to any process of the same user."""
_OWNERS_OF_SOCKETS = (0x8901, 0x8902)  # FIOSETOWN, SIOCSPGRP: the same

_libc = ctypes.CDLL(None, use_errno=True)


def available() -> bool:
    """Whether the calls' numbers are known for this processor."""
    return platform.machine() in _AUDIT


def refuse_calls() -> None:
    """Installs the filter in this thread and all that it starts. Needs "no new privileges". Raises `OSError`."""
    if not available():
        raise OSError(errno.EOPNOTSUPP, f"no table of system calls for {platform.machine()}")
    install(_program(platform.machine(), os.getpid()))


def install(instructions: Sequence[bytes]) -> None:
    """Puts a filter in force for good. Raises `OSError`."""
    code = b"".join(instructions)
    buffer = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("<HxxxxxxQ", len(instructions), ctypes.addressof(buffer))
    if _libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.create_string_buffer(header, len(header)), 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, f"the filter of system calls was refused: {os.strerror(number)}")


def column(machine: str) -> int:
    """Which number of a pair is this processor's."""
    return list(_AUDIT).index(machine)


def refused(number: int) -> int:
    """The answer that lets a call fail with an error number."""
    return _ERROR | number


def preamble(machine: str) -> list[bytes]:
    """Ends the process where a call is of another table; leaves the call's number loaded."""
    program = [
        _instruction(_LOAD, 0, 0, _ARCHITECTURE),
        _instruction(JUMP_EQUAL, 1, 0, _AUDIT[machine]),
        answer(_KILL),
        _instruction(_LOAD, 0, 0, _NUMBER),
    ]
    if machine == "x86_64":
        program += [_instruction(_JUMP_AT_LEAST, 0, 1, _X32_BIT), answer(_KILL)]
    return program


def answer(value: int) -> bytes:
    """Answers whatever call it is."""
    return _instruction(_RETURN, 0, 0, value)


def answered(number: int, value: int) -> list[bytes]:
    """Answers one call."""
    return [_instruction(JUMP_EQUAL, 0, 1, number), answer(value)]


def rule(number: int, conditions: Sequence[tuple[int, int, int]], otherwise: int) -> list[bytes]:
    """Allows a call whose arguments meet all conditions: (half of an argument, comparison, value)."""
    body: list[bytes] = []
    for place, (half, comparison, value) in enumerate(conditions):
        to_refusal = 2 * (len(conditions) - place - 1) + 1
        body += [_instruction(_LOAD, 0, 0, _ARGUMENTS + 4 * half), _instruction(comparison, 0, to_refusal, value)]
    body += [answer(ALLOW), answer(otherwise)]
    return [_instruction(JUMP_EQUAL, 0, len(body), number), *body]


def unless_any_bit(number: int, argument: int, bits: int, otherwise: int) -> list[bytes]:
    """Allows a call that has none of these bits in an argument."""
    body = [
        _instruction(_LOAD, 0, 0, _ARGUMENTS + 8 * argument),
        _instruction(JUMP_ANY_BIT, 1, 0, bits),
        answer(ALLOW),
        answer(otherwise),
    ]
    return [_instruction(JUMP_EQUAL, 0, len(body), number), *body]


def unless_one_of(number: int, argument: int, values: Sequence[int], otherwise: int) -> list[bytes]:
    """Allows a call whose argument's lower half is none of these values."""
    body = [_instruction(_LOAD, 0, 0, _ARGUMENTS + 8 * argument)]
    body += [_instruction(JUMP_EQUAL, len(values) - place, 0, value) for place, value in enumerate(values)]
    body += [answer(ALLOW), answer(otherwise)]
    return [_instruction(JUMP_EQUAL, 0, len(body), number), *body]


def _program(machine: str, own: int) -> list[bytes]:
    """The filter's instructions; each rule ends in an answer or leaves the call's number loaded."""
    place = column(machine)
    refusal = refused(errno.EPERM)
    program = preamble(machine)
    for table in (_NETWORK, _PROGRAMS, _OTHER_PROCESSES, _SHARED, _KERNEL, _ATTRIBUTES):
        for numbers in table.values():
            number = numbers[place]
            if number is not None:
                program += answered(number, refusal)
    for pair in _KILL_CALLS.values():
        program += rule(pair[place], [(0, JUMP_EQUAL, own)], refusal)
    program += unless_one_of(FILE_CONTROL[place], 1, OWNERS, refusal)
    program += unless_one_of(_DEVICE_CONTROL[place], 1, _OWNERS_OF_SOCKETS, refusal)
    program += rule(_CLONE[place], [(0, JUMP_ANY_BIT, _CLONE_THREAD)], refusal)
    # clone3's flags lie in memory, where a filter cannot look: libraries fall back to clone
    program += answered(_CLONE3[place], refused(errno.ENOSYS))
    program += rule(_PRLIMIT[place], [(4, JUMP_EQUAL, 0), (5, JUMP_EQUAL, 0)], refusal)
    return [*program, answer(ALLOW)]


def _instruction(code: int, if_true: int, if_false: int, value: int) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, value)
