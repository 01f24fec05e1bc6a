"""The evaluator's child process: jobs on its socket, events back (see `eval.frames`); started by `eval.launcher`.

It keeps one base model between jobs of the same base. A model that makes llama.cpp abort ends this process and nothing
else. When its parent goes away, its socket ends and so does this process, in the middle of a job if need be.
"""

import os
import queue
import sys
import tempfile
import threading
from collections.abc import Mapping

import msgspec

from eval.frames import LENGTH_BYTES, FrameTooLarge, pack, payload_length
from eval.job import Audit, Event, Job


def answer_jobs(names: Mapping[str, str]) -> None:
    """Answers jobs until the socket, descriptor 0, ends; `names` tells where the paths in jobs are found."""
    from eval.desk import Desk

    tempfile.tempdir = os.sep  # nothing can be written here: libraries that ask for a place when imported get a name
    jobs: queue.Queue[Job | Audit] = queue.Queue(maxsize=1)
    threading.Thread(target=_read_jobs, args=(jobs,), daemon=True).start()
    desk = Desk(_send)
    while True:
        work = jobs.get()
        if isinstance(work, Audit):
            desk.answer(msgspec.structs.replace(work, job=_renamed(work.job, names)))
        else:
            desk.answer(_renamed(work, names))


def _renamed(job: Job, names: Mapping[str, str]) -> Job:
    adapters = tuple(msgspec.structs.replace(each, path=names.get(each.path, each.path)) for each in job.adapters)
    folder = names.get(job.data_folder, job.data_folder) if job.data_folder else None
    return msgspec.structs.replace(job, base=names.get(job.base, job.base), adapters=adapters, data_folder=folder)


def _read_jobs(jobs: queue.Queue[Job | Audit]) -> None:
    """Passes jobs on; a thread of its own, so that the socket's end is noticed in the middle of a job, too."""
    code = 1
    try:
        decoder = msgspec.msgpack.Decoder(Job | Audit)
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


def _send(event: Event) -> None:
    data = memoryview(pack(event))
    while data:
        data = data[os.write(0, data) :]
