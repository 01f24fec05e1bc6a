"""Daemons in processes of their own while a test runs; whatever it does, none of them outlives it."""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol


class Startable(Protocol):
    """A daemon in a process, which is None before it starts."""

    process: subprocess.Popen[bytes] | None

    def start(self) -> None: ...


@contextmanager
def running(members: Sequence[Startable]) -> Iterator[None]:
    """Start all of them; kill at the end those that still run."""
    for member in members:
        member.start()
    try:
        yield
    finally:
        for member in members:
            if member.process and member.process.poll() is None:
                member.process.kill()
                member.process.wait()
