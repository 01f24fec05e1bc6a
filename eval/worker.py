"""The evaluator's child process: `python -I -m eval.worker`, jobs on stdin, events on stdout (see `eval.frames`).

It keeps one base model between jobs of the same base. A model that makes llama.cpp abort ends this process and nothing
else. When its parent goes away, stdin ends and so does this process, in the middle of a job if need be.
"""

import os
import queue
import sys
import threading

import msgspec

from eval.confinement import confine
from eval.frames import LENGTH_BYTES, FrameTooLarge, pack, payload_length
from eval.job import Event, Job


def main() -> None:
    """Answers jobs until stdin ends."""
    events = os.dup(1)
    os.dup2(2, 1)  # whatever a library prints must not break the frames
    confine()
    from eval.desk import Desk

    jobs: queue.Queue[Job] = queue.Queue(maxsize=1)
    threading.Thread(target=_read_jobs, args=(jobs,), daemon=True).start()
    desk = Desk(lambda event: _send(events, event))
    while True:
        desk.answer(jobs.get())


def _read_jobs(jobs: queue.Queue[Job]) -> None:
    """Passes jobs on; a thread of its own, so that the end of stdin is noticed in the middle of a job, too."""
    code = 1
    try:
        decoder = msgspec.msgpack.Decoder(Job)
        while True:
            jobs.put(decoder.decode(_read_exactly(payload_length(_read_exactly(LENGTH_BYTES)))))
    except (EOFError, OSError):
        code = 0
    except (msgspec.DecodeError, FrameTooLarge) as error:
        print(f"a job could not be read: {error}", file=sys.stderr, flush=True)
        code = 2
    finally:
        os._exit(code)


def _read_exactly(count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        chunk = os.read(0, min(1 << 20, count - len(data)))
        if not chunk:
            raise EOFError
        data += chunk
    return bytes(data)


def _send(descriptor: int, event: Event) -> None:
    data = memoryview(pack(event))
    while data:
        data = data[os.write(descriptor, data) :]


if __name__ == "__main__":
    main()
