"""Starts a confined child for each model: `python -I -m eval.launcher`, its control socket as stdin.

It has everything imported, so that a child is a fork of milliseconds, and never looks at a model itself. The child
gets its files as open descriptors, which reach into any sandbox; it confines itself to them before it reads the first
byte. What a hostile model does to its child ends with that child: the next model gets another.

The launcher has one thread, as it forks. It ends with its control socket, and takes the child along.
"""

import gc
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from eval import bubblewrap
from eval.confinement import Bounds, confine, end_with_parent
from eval.frames import pack
from eval.seating import PIPES, SeatEnded, SeatRequest, receive_request

CHILD_BROKEN = 70


def main() -> None:
    """Serves requests until the control socket ends."""
    control = socket.socket(fileno=os.dup(0))
    os.dup2(2, 1)  # whatever a library prints must not get lost
    if not bubblewrap.has_gpu_engine():  # a driver that has been touched does not survive a fork
        import eval.desk  # noqa: F401
    gc.collect()
    gc.freeze()  # a child that collects garbage must not copy the parent's pages
    while True:
        try:
            received = receive_request(control)
        except ConnectionError:
            return
        if received is None:
            return
        request, descriptors = received
        _read_questions_ahead(request)
        code = _seat(control, request, descriptors)
        with suppress(BrokenPipeError):
            control.sendall(pack(SeatEnded(code)))


def _read_questions_ahead(request: SeatRequest) -> None:
    """The project's own questions take longer to make than a child to start: they are made once, here."""
    if "eval.desk" not in sys.modules:
        return
    from eval.benchmarks import find
    from eval.failing import EvaluationError

    with suppress(EvaluationError):  # the child finds the same, and says so
        entry = find(request.benchmark)
        if not entry.sources:
            entry.load(None)


def _seat(control: socket.socket, request: SeatRequest, descriptors: list[int]) -> int:
    """Starts a child and waits until it has ended, or is not wanted any more. Its exit code."""
    lifeline = descriptors[2]
    alive, sentinel = os.pipe()
    child = os.fork()
    if child == 0:
        code = CHILD_BROKEN
        try:
            end_with_parent()
            for descriptor in (control.fileno(), lifeline, alive):
                os.close(descriptor)
            _work(request, descriptors)
            code = 0
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(code)
    os.close(sentinel)
    for descriptor in (*descriptors[:2], *descriptors[PIPES:]):
        os.close(descriptor)
    poll = select.poll()
    for descriptor in (lifeline, alive, control.fileno()):
        poll.register(descriptor, select.POLLIN | select.POLLHUP)
    poll.poll()
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)  # it has ended by itself, or is to
    _, status = os.waitpid(child, 0)
    os.close(alive)
    os.close(lifeline)
    return os.waitstatus_to_exitcode(status)


def _work(request: SeatRequest, descriptors: Sequence[int]) -> None:
    """The child's life."""
    seat, words = descriptors[:2]
    os.dup2(seat, 0)
    os.dup2(words, 1)
    os.dup2(words, 2)
    os.close(seat)
    os.close(words)
    files = descriptors[PIPES:]
    names = {path: _reachable(path, number, place) for number, (path, place) in enumerate(_pairs(request, files))}
    if request.data_folder is not None:
        names[request.data_folder] = _laid_out(request.data_folder, names)
    from eval.worker import answer_jobs

    bounds = Bounds(request.memory, request.mapped, request.cpu_seconds)
    confine(request.level, bounds, _pairs(request, files))
    answer_jobs(names)


def _pairs(request: SeatRequest, files: Sequence[int]) -> list[tuple[str, int]]:
    return list(zip(request.paths, files, strict=True))


def _reachable(path: str, number: int, descriptor: int) -> str:
    """A path that opens the descriptor's file: its own where that is in sight, else one of the same name."""
    with suppress(OSError):
        if os.path.samestat(os.stat(path), os.fstat(descriptor)):
            return path
    folder = Path(bubblewrap.FILES) / f"{os.getpid()}-{number}"
    folder.mkdir()
    link = folder / Path(path).name
    link.symlink_to(f"/proc/self/fd/{descriptor}")
    return str(link)


def _laid_out(folder: str, names: Mapping[str, str]) -> str:
    """A folder that has the given files of `folder` where it has them: itself where they are in sight, else links."""
    inside = {path: name for path, name in names.items() if Path(path).is_relative_to(folder)}
    if all(path == name for path, name in inside.items()):
        return folder
    links = Path(bubblewrap.FILES) / f"{os.getpid()}-folder"
    for path, name in inside.items():
        link = links / Path(path).relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(name)
    return str(links)


if __name__ == "__main__":
    main()
