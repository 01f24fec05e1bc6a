"""Ways to answer the same questions: this project's engine and llama.cpp's own programs."""

import http.client
import json
import os
import re
import resource
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from msgspec import Struct

from benchmarks.llama_programs import llama_programs
from benchmarks.shapes import NEW_TOKENS, Offer
from eval import products
from eval.base import Base
from eval.choices import Choices, continuation_tokens
from eval.generation import Generation
from eval.header import read_header
from eval.lanes import plan_lanes, run_lanes
from eval.modes import FAST, layout
from eval.parallel import in_threads
from eval.scorers import largest

MEMORY = 8 << 30
SERVER_SLOTS = 16
TRIES = 20
FEWEST_TASKS = 8  # llama-perplexity wants some
PERPLEXITY_CELLS, PERPLEXITY_SEQUENCES = 2560, 40  # room for eight questions, as fast as any that was tried
_MOMENT = r"^(\d+)\.(\d+)\.(\d+)\.(\d+) I .*"
_BEGUN, _ENDED = (re.compile(_MOMENT + words, re.MULTILINE) for words in ("reading tasks", "Final result"))


class Spent(Struct, frozen=True):
    """Seconds: of all processors together, and by the clock."""

    processor: float
    clock: float


class Own:
    """The project's engine, as an evaluation uses it: from texts to answers."""

    def __init__(self, path: Path, threads: int, *, lanes: int | None = None, together: int | None = None) -> None:
        self.base = Base(path, read_header(path))
        self._threads = threads
        self._plan = partial(plan_lanes, threads=threads, limit=MEMORY, lanes=lanes, together=together)

    def write(self, prompts: Sequence[str]) -> list[str]:
        """What is written behind each prompt."""
        model = self.base.model
        asked = in_threads(
            self._threads, lambda text: Generation(model, model.tokens(text), (), NEW_TOKENS, None), prompts
        )
        self.run(asked, NEW_TOKENS // 2)
        return [question.text for question in asked]

    def choose(self, offered: Sequence[Offer]) -> list[int]:
        """The most likely choice of each question."""
        model = self.base.model

        def choices(offer: Offer) -> Choices:
            return Choices(*continuation_tokens(model, offer.prompt, list(offer.choices)), None)

        asked = in_threads(self._threads, choices, offered)
        self.run(asked, 2)
        return [largest(question.sums.tolist()) for question in asked]

    def run(self, asked: Sequence[Generation | Choices], steps: int) -> None:
        """Answers questions that take about so many passes after their prompt."""
        blocks = not isinstance(asked[0], Generation)
        arranged = layout(FAST, rows_alone=True, blocks=blocks, recurrent=False, products=products.available())
        plan = self._plan(self.base, asked, steps, layout=arranged)
        run_lanes(self.base.model, plan, (), lambda _done, _total, _decoded: None)


class Server:
    """`llama-server` with parallel slots, all questions posted at once; it keeps each slot's last prompt."""

    def __init__(self, port: int, process: int) -> None:
        self._port = port
        self._process = psutil.Process(process)

    def processor_seconds(self) -> float:
        """What the server has used since its start."""
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def write(self, prompts: Sequence[str], new: int = NEW_TOKENS) -> list[str]:
        """What is written behind each prompt: at most so many `new` tokens."""
        with ThreadPoolExecutor(len(prompts)) as pool:
            return list(pool.map(partial(self._write, new), prompts))

    def _write(self, new: int, prompt: str) -> str:
        wanted = {"prompt": prompt, "n_predict": new, "temperature": 0, "top_k": 1, "cache_prompt": True}
        return str(self._post("/completion", wanted | {"samplers": ["top_k"]})["content"])

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=600)
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if answer.status != http.client.OK:
            raise SystemExit(f"llama-server answered {answer.status}: {content[:300]!r}")
        return json.loads(content)

    def ready(self) -> bool:
        """Whether its model is loaded."""
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
            connection.request("GET", "/health")
            return connection.getresponse().status == http.client.OK
        except OSError:
            return False


@contextmanager
def server(path: Path, threads: int) -> Iterator[Server]:
    """A server for this model, on the same terms: unified cache, 16 slots, no repacked weights."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    cells = 1024 * SERVER_SLOTS
    command = [str(llama_programs().server), "-m", str(path), "--host", "127.0.0.1", "--port", str(port), "--no-ui"]
    command += ["-np", str(SERVER_SLOTS), "-c", str(cells), "-b", "2048", "-ub", "512", "-kvu", "--no-repack"]
    command += ["-t", str(threads), "-tb", str(threads), "-fit", "off", "-cram", "0", "--log-disable"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())
    try:
        found = Server(port, process.pid)
        while not found.ready():
            if process.poll() is not None:
                raise SystemExit(f"llama-server ended with {process.returncode}.")
            time.sleep(0.05)
        yield found
    finally:
        process.terminate()
        process.wait()


class Perplexity:
    """`llama-perplexity --multiple-choice`, without its start and the loading of the model.

    By the clock that is its own account; of processor time it is what more questions take than the fewest.
    """

    def __init__(self, path: Path, threads: int, offered: Sequence[Offer]) -> None:
        self._command = [str(llama_programs().perplexity), "-m", str(path), "--multiple-choice", "--no-repack"]
        self._command += ["-t", str(threads), "-tb", str(threads), "-b", "2048", "-ub", "512", "-fit", "off"]
        self._command += ["-np", str(PERPLEXITY_SEQUENCES), "-c", str(PERPLEXITY_CELLS // PERPLEXITY_SEQUENCES)]
        self._offered = offered
        self._fewest = self._run(FEWEST_TASKS)

    def ask(self, count: int) -> Spent:
        """The time for one of the first `count` questions, at least 16."""
        count = max(2 * FEWEST_TASKS, count)
        found = self._run(count)
        return Spent((found.processor - self._fewest.processor) / (count - FEWEST_TASKS), found.clock / count)

    def _run(self, count: int) -> Spent:
        with tempfile.NamedTemporaryFile(suffix=".bin") as file:
            file.write(_tasks(self._offered[:count]))
            file.flush()
            for _ in range(TRIES):  # it may end before its log is written
                before = children_seconds()
                done = subprocess.run(
                    [*self._command, "-f", file.name], capture_output=True, text=True, check=False, env=environment()
                )
                begun, ended = _BEGUN.search(done.stderr), _ENDED.search(done.stderr)
                if begun and ended:
                    return Spent(children_seconds() - before, _moment(ended) - _moment(begun))
        raise SystemExit(f"llama-perplexity ended with {done.returncode}:\n{(done.stdout + done.stderr)[-2000:]}")


def children_seconds() -> float:
    """Processor time of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _moment(found: re.Match[str]) -> float:
    """Seconds since the program's start, by the stamp of a line in its log."""
    minutes, seconds, thousandths, millionths = map(int, found.groups())
    return 60 * minutes + seconds + thousandths / 1e3 + millionths / 1e6


def environment() -> dict[str, str]:
    """What the project's own engine runs with, too."""
    return dict(os.environ) | {"OMP_WAIT_POLICY": "PASSIVE", "GGML_NO_BACKTRACE": "1"}


def _tasks(offered: Sequence[Offer]) -> bytes:
    """The file that llama-perplexity reads: tasks behind their positions; the first choice counts as right."""
    tasks = [_string(offer.prompt) + _answers(offer.choices) + struct.pack("<I", 0) for offer in offered]
    head = 4 + 4 * len(tasks)
    starts = [head + sum(map(len, tasks[:place])) for place in range(len(tasks))]
    return struct.pack(f"<I{len(tasks)}I", len(tasks), *starts) + b"".join(tasks)


def _answers(choices: Sequence[str]) -> bytes:
    labels = struct.pack(f"<{len(choices)}i", 1, *[0] * (len(choices) - 1))
    return struct.pack("<I", len(choices)) + b"".join(_string(choice.lstrip()) for choice in choices) + labels


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<I", len(data)) + data
