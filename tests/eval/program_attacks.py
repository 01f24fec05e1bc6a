# mypy: ignore-errors
"""What a generated program could try, each in a form that harms nothing.

Every function is the answer to a question whose test calls it with its targets: the program passes if the attack gets
what it wanted, and an exception is a failure. The test takes a function's source out of this file, so each one imports
for itself.
"""


def connect(target):
    import socket

    socket.create_connection(("127.0.0.1", target["port"]), 2).close()


def listen(target):
    import socket

    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        own.listen()


def read_key(target):
    with open(target["key"]) as file:
        assert file.read()


def read_environment(target):
    with open(f"/proc/{target['victim']}/environ", "rb") as file:
        assert file.read()


def fork_many(target):
    import os
    import time

    children = []
    try:
        while len(children) < 24:
            child = os.fork()
            if child == 0:
                time.sleep(20)
                os._exit(0)
            children.append(child)
    finally:
        for child in children:
            os.kill(child, 9)
            os.waitpid(child, 0)


def start_thread(target):
    import threading

    thread = threading.Thread(target=list)
    thread.start()
    thread.join()


def run_program(target):
    import subprocess
    import sys

    subprocess.run([sys.executable, "-I", "-S", "-c", ""], check=True)


def eat_memory(target):
    import mmap

    block = mmap.mmap(-1, 640 << 20)
    for page in range(0, len(block), 4096):
        block[page] = 1


def write_file(target):
    with open(target["new"], "w") as file:
        file.write("was here")


def make_folder(target):
    import os

    os.mkdir(target["new"] + ".folder")


def use_scratch(target):
    import tempfile

    with tempfile.NamedTemporaryFile("w") as file:
        file.write("was here")


def empty_file(target):
    import os

    os.truncate(target["old"], 0)


def remove_file(target):
    import os

    os.unlink(target["old"])


def make_readable(target):
    import os

    os.chmod(target["key"], 0o644)


def trace(target):
    import ctypes
    import os

    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    assert libc.ptrace(16, target["victim"], None, None) == 0
    os.waitpid(target["victim"], 0)
    libc.ptrace(17, target["victim"], None, None)


def kill_other(target):
    import os

    os.kill(target["victim"], 9)


def kill_by_file(target):
    import fcntl
    import os

    reader, writer = os.pipe()
    fcntl.fcntl(reader, fcntl.F_SETSIG, 9)
    fcntl.fcntl(reader, fcntl.F_SETOWN, target["victim"])
    fcntl.fcntl(reader, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    os.write(writer, b"now")


def signal_parent(target):
    import os

    os.kill(os.getppid(), 0)


def lift_limits(target):
    import resource

    for limit in (resource.RLIMIT_FSIZE, resource.RLIMIT_CPU, resource.RLIMIT_CORE):
        resource.setrlimit(limit, (1 << 20, 1 << 20))


def use_processor(target):
    import time

    while time.process_time() < 2.5:
        pass


def import_packages(target):
    import msgspec

    assert msgspec


def read_environment_of_its_own(target):
    import os

    assert os.environ["HF_TOKEN"]
