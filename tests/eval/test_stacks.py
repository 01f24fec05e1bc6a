"""Threads that check weights take little of a child's bounded address space."""

import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from eval.stacks import STACK_BYTES, small_stacks, stack_bytes

THREADS = 40
MIB = 1 << 20

pytestmark = pytest.mark.skipif(not stack_bytes(), reason="this C library does not tell its threads' stacks")


def space_of_threads() -> int:
    """Bytes of address space that some waiting threads take."""
    before, over = address_space(), threading.Event()
    threads = [threading.Thread(target=over.wait) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    try:
        return address_space() - before
    finally:
        over.set()
        for thread in threads:
            thread.join()


def address_space() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()


def main() -> None:
    """Prints what the threads take, first with small stacks; a process of its own has no stacks kept for reuse."""
    with small_stacks():
        small = space_of_threads()
    print(small, space_of_threads(), stack_bytes())


def test_many_threads_take_little_room() -> None:
    program = "from tests.eval.test_stacks import main\nmain()"
    environment = {"MALLOC_ARENA_MAX": "1"}
    command = ["sh", "-c", 'ulimit -s 8192 && exec "$@"', "sh", sys.executable, "-c", program]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], env=environment, capture_output=True, text=True, check=True
    )
    small, usual, after = map(int, done.stdout.split())
    assert small < THREADS * STACK_BYTES + MIB
    assert usual > THREADS * 4 * MIB
    assert after == 8 * MIB


def fail_within() -> None:
    with small_stacks():
        assert stack_bytes() == STACK_BYTES
        raise KeyError


def test_the_usual_size_is_back_after_a_failure() -> None:
    before = stack_bytes()
    with pytest.raises(KeyError):
        fail_within()
    assert stack_bytes() == before
