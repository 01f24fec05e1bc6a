"""The tails of fingerprints as one way of computing gives them: a child process, so that it can load another build.

Each prompt is read once, and every hour's tail is decoded on its cache and forgotten, as if each had come alone. What a
setup may vary is what honest machines differ in, and the cache's type, in which cheats would like to.
"""

import ctypes
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from eval.binding import C
from eval.model import LoadedModel
from protocol import fingerprint
from protocol.fingerprint import TAIL_TOKENS

CACHE_TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q8_0": 8}
BATCH = 512


class Setup(Struct, frozen=True):
    """A way to compute. `together`: questions in one batch; `micro`: tokens that are computed at once."""

    name: str
    threads: int = 2
    together: int = 4
    micro: int = BATCH
    flash: bool = True
    unified: bool = True
    cache: str = "f16"
    library: str | None = None


class Work(Struct, frozen=True):
    """`prompts` by question, `tails` by hour and question; `adapter` a file and a scale."""

    model: str
    setup: Setup
    prompts: list[list[int]]
    tails: list[list[list[int]]]
    adapter: tuple[str, float] | None = None


def answer() -> None:
    """From `Work` on standard input to the vectors of all hours on standard output."""
    work = msgspec.json.decode(sys.stdin.buffer.read(), type=Work)
    with LoadedModel(Path(work.model)) as model:
        found = list(_values(model, work))
    by_hour = [
        fingerprint.decode(fingerprint.encode([question[hour] for question in found]))
        for hour in range(len(work.tails))
    ]
    sys.stdout.buffer.write(msgspec.json.encode(by_hour))


def _values(model: LoadedModel, work: Work) -> Iterator[list[list[float]]]:
    """By question, the log-probabilities of each hour."""
    questions = iter(range(len(work.prompts)))
    context = _context(model, work)
    try:
        while group := list(islice(questions, work.setup.together)):
            memory = C.llama_get_memory(context)
            C.llama_memory_clear(memory, True)
            _read(context, [work.prompts[question] for question in group])
            found: list[list[list[float]]] = [[] for _ in group]
            for tails in work.tails:
                chosen = [tails[question] for question in group]
                starts = [len(work.prompts[question]) for question in group]
                for place, values in enumerate(_tails(context, model.vocabulary_size, chosen, starts)):
                    found[place].append(values)
                    C.llama_memory_seq_rm(memory, place, starts[place], -1)
            yield from found
    finally:
        C.llama_free(context)


def _context(model: LoadedModel, work: Work) -> Any:
    setup = work.setup
    parameters = C.llama_context_default_params()
    longest = max(map(len, work.prompts)) + TAIL_TOKENS
    parameters.n_ctx = setup.together * -(-longest // 256) * 256
    parameters.n_seq_max = setup.together
    parameters.n_batch = BATCH
    parameters.n_ubatch = setup.micro
    parameters.n_threads = parameters.n_threads_batch = setup.threads
    flash = C.LLAMA_FLASH_ATTN_TYPE_ENABLED if setup.flash else C.LLAMA_FLASH_ATTN_TYPE_DISABLED
    parameters.flash_attn_type = flash
    parameters.kv_unified = setup.unified
    parameters.type_k = parameters.type_v = CACHE_TYPES[setup.cache]
    context = C.llama_init_from_model(model.handle, parameters)
    if not context:
        raise SystemExit(f"no context for {setup}")
    if work.adapter:
        file, scale = work.adapter
        handles = (C.llama_adapter_lora_p_ctypes * 1)(model.adapter(Path(file), bytes(32)))
        C.llama_set_adapters_lora(context, handles, 1, (ctypes.c_float * 1)(scale))
    return context


def _read(context: Any, prompts: Sequence[Sequence[int]]) -> None:
    """All prompts in full batches, which begin and end wherever they do."""
    cells = [(token, at, place) for place, prompt in enumerate(prompts) for at, token in enumerate(prompt)]
    for start in range(0, len(cells), BATCH):
        _decode(context, cells[start : start + BATCH], rows=False)


def _tails(context: Any, words: int, tails: Sequence[Sequence[int]], starts: Sequence[int]) -> list[list[float]]:
    cells = [
        (token, start + at, place)
        for place, (tail, start) in enumerate(zip(tails, starts, strict=True))
        for at, token in enumerate(tail[:-1])
    ]
    logits = _decode(context, cells, rows=True, words=words).astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
    targets = [token for tail in tails for token in tail[1:]]
    values: list[list[float]] = logits[np.arange(len(targets)), targets].reshape(len(tails), -1).tolist()
    return values


def _decode(context: Any, cells: Sequence[tuple[int, int, int]], *, rows: bool, words: int = 0) -> NDArray[np.float32]:
    batch = C.llama_batch_init(len(cells), 0, 1)
    batch.n_tokens = len(cells)
    for index, (token, position, sequence) in enumerate(cells):
        batch.token[index], batch.pos[index], batch.n_seq_id[index] = token, position, 1
        batch.seq_id[index][0], batch.logits[index] = sequence, rows
    code = C.llama_decode(context, batch)
    C.llama_batch_free(batch)
    if code:
        raise SystemExit(f"llama_decode returned {code}")
    if not rows:
        return np.empty((0, 0), np.float32)
    address = ctypes.cast(C.llama_get_logits(context), ctypes.c_void_p).value
    assert address is not None
    buffer = (ctypes.c_float * (len(cells) * words)).from_address(address)
    return np.frombuffer(memoryview(buffer), np.float32).reshape(len(cells), words).copy()
