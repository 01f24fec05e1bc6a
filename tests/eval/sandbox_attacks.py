# mypy: ignore-errors
"""What a hostile model could do once it controls its child; each in a form that harms nothing.

Runs as the child's whole program: the test starts this file's text as launcher, with the job's benchmark naming the
attack and, behind a space, its targets as JSON. An attack returns a text if it got what it wanted, and raises if not.
"""

import ctypes
import fcntl
import json
import mmap
import os
import resource
import socket
import struct
import sys
import time

FORKS = 24
BOMB_BYTES = 640 << 20
PTRACE_ATTACH, PTRACE_DETACH = 16, 17
FRAMES = 5_000


def connect(target):
    with socket.create_connection(("127.0.0.1", target["port"]), 2):
        return "connected"


def listen(target):
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        own.listen()
        return "listening"


def read_key(target):
    with open(target["key"]) as file:
        return file.read()


def read_environment(target):
    with open(f"/proc/{target['victim']}/environ", "rb") as file:
        return str(len(file.read()) > 0 or 1 / 0)


def fork_many(target):
    children = []
    try:
        while len(children) < FORKS:
            child = os.fork()
            if child == 0:
                time.sleep(20)
                os._exit(0)
            children.append(child)
    finally:
        for child in children:
            os.kill(child, 9)
            os.waitpid(child, 0)
    return f"{len(children)} processes"


def run_program(target):
    child = os.posix_spawn(sys.executable, [sys.executable, "-I", "-S", "-c", ""], {})
    return f"ran {os.waitpid(child, 0)}"


def eat_memory(target):
    block = mmap.mmap(-1, BOMB_BYTES)
    for page in range(0, BOMB_BYTES, 4096):
        block[page] = 1
    block.close()
    return "eaten"


def write_file(target):
    with open(target["new"], "w") as file:
        file.write("was here")
    return "written"


def empty_file(target):
    os.truncate(target["old"], 0)
    return "emptied"


def remove_file(target):
    os.unlink(target["old"])
    return "removed"


def make_readable(target):
    os.chmod(target["key"], 0o644)
    return "readable by all"


def trace(target):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    if libc.ptrace(PTRACE_ATTACH, target["victim"], None, None):
        raise OSError(ctypes.get_errno(), "ptrace")
    os.waitpid(target["victim"], 0)
    libc.ptrace(PTRACE_DETACH, target["victim"], None, None)
    return "traced"


def kill_other(target):
    os.kill(target["victim"], 9)
    return "killed"


def kill_by_file(target):
    """Has the kernel send the signal of a pipe that became readable."""
    reader, writer = os.pipe()
    fcntl.fcntl(reader, fcntl.F_SETSIG, 9)
    fcntl.fcntl(reader, fcntl.F_SETOWN, target["victim"])
    fcntl.fcntl(reader, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    os.write(writer, b"now")
    return "killed"


def read_shared(target):
    """Attaches to memory that another process shares by System V's means."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.shmat.restype = ctypes.c_void_p
    address = libc.shmat(target["segment"], None, 0)
    if address == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), "shmat")
    return ctypes.string_at(address).decode()


def slow_other(target):
    os.sched_setscheduler(target["victim"], os.SCHED_IDLE, os.sched_param(0))
    return "slowed"


def kill_launcher(target):
    os.kill(os.getppid(), 9)
    return "killed"


def lift_limits(target):
    for limit in (resource.RLIMIT_FSIZE, resource.RLIMIT_CPU, resource.RLIMIT_CORE):
        resource.setrlimit(limit, (1 << 20, 1 << 20))
    return "lifted"


def flood_events(target):
    from eval.frames import pack
    from eval.job import Progress

    frames = pack(Progress(0, 1, 0.0)) * 100
    for _ in range(FRAMES // 100):
        write_all(frames)
    return "all heard"


def large_event(target):
    write_all(struct.pack(">I", 1 << 31))
    return "announced"


def flood_words(target):
    line = b"x" * 65535 + b"\n"
    for _ in range(64):
        os.write(2, line)
    return "all heard"


def read_token(target):
    return os.environ["HF_TOKEN"]


def read_questions(target):
    """No attack: what the job needs."""
    with open(f"{target['folder']}/gsm8k/test.jsonl") as file:
        return file.read()


def write_all(data):
    while data:
        data = data[os.write(0, data) :]


def attack(names):
    import msgspec

    from eval.frames import pack, payload_length
    from eval.job import Job, JobFailed
    from protocol.failures import Failure

    prefix = os.read(0, 4)
    job = msgspec.msgpack.decode(os.read(0, payload_length(prefix)), type=Job)
    name, _, target = job.benchmark.partition(" ")
    try:
        said = "GOT IT: " + globals()[name](json.loads(target) | {"folder": names.get(job.data_folder)})
    except BaseException as error:
        said = f"contained: {type(error).__name__}: {error}"
    write_all(pack(JobFailed(Failure.ENGINE_FAILED, said)))
    os.read(0, 1)


if __name__ == "__main__":
    import eval.launcher
    import eval.worker

    eval.worker.answer_jobs = attack
    eval.launcher.main()
