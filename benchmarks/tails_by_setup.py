"""The tails of fingerprints as one way of computing gives them: a child process, so that it can load another build.

Each prompt is read once (with `shared` also what prompts in a row have in common), and every hour's tail is decoded on
its cache and forgotten, as if each had come alone. What a setup may vary is what honest machines differ in, and the
cache's type, in which cheats would like to.
"""

import ctypes
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from eval import products
from eval.binding import C
from eval.memory import FEWEST_ROWS
from eval.model import LoadedModel
from protocol import fingerprint
from protocol.fingerprint import MOST_VALUES, VALUES_PER_TOKEN, Step, Vector

CACHE_TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q8_0": 8}
BATCH = 512
ALIKE = 32
"""Tokens that two prompts have to have in common to be read as one."""
Prompts = list[list[int]]


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
    shared: bool = False
    products: bool = False


class Work(Struct, frozen=True):
    """`prompts` by question, `tails` by hour and question; `adapter` a file and a scale."""

    model: str
    setup: Setup
    prompts: list[list[int]]
    tails: list[list[list[Step]]]
    adapter: tuple[str, float] | None = None


def answer() -> None:
    """From `Work` on standard input to the vectors of all hours on standard output."""
    work = msgspec.json.decode(sys.stdin.buffer.read(), type=Work)
    with LoadedModel(Path(work.model)) as model:
        found = list(_values(model, work))
    sys.stdout.buffer.write(msgspec.json.encode([_rounded(found, hour) for hour in range(len(work.tails))]))


def _rounded(found: list[list[list[float]]], hour: int) -> Vector:
    """An hour's vector; of each question as many values as it was given, whatever size of task it is cut to later."""
    return tuple(fingerprint.decode(fingerprint.encode([question[hour]]), 1)[0] for question in found)


def beginnings(prompts: Prompts) -> list[tuple[list[int], Prompts]]:
    """Prompts in a row that begin alike, and what they have in common, less than all of any."""
    groups: list[Prompts] = []
    for prompt in prompts:
        if groups and groups[-1][0][:ALIKE] == prompt[:ALIKE]:
            groups[-1].append(prompt)
        else:
            groups.append([prompt])
    return [(_in_common([prompt[:-1] for prompt in group]), group) for group in groups]


def _in_common(prompts: Prompts) -> list[int]:
    places = zip(*prompts, strict=False)
    return [tokens[0] for tokens in takewhile(lambda tokens: len(set(tokens)) == 1, places)]


def _values(model: LoadedModel, work: Work) -> Iterator[list[list[float]]]:
    """By question, the log-probabilities of each hour."""
    questions = iter(range(len(work.prompts)))
    parts = beginnings(work.prompts) if work.setup.shared else [([], work.prompts)]
    context = _context(model, work)
    try:
        for shared, prompts in parts:
            C.llama_memory_clear(C.llama_get_memory(context), True)
            _read(context, [shared], [0], work.setup.together)
            left = iter(prompts)
            while group := list(islice(left, work.setup.together)):
                tails = [[hour[question] for hour in work.tails] for question in islice(questions, len(group))]
                yield from _group(context, model.vocabulary_size, work.setup, len(shared), group, tails)
    finally:
        C.llama_free(context)


def _group(
    context: Any, words: int, setup: Setup, shared: int, prompts: Prompts, tails: Sequence[list[list[Step]]]
) -> list[list[list[float]]]:
    """Questions in one batch, behind so many tokens that sequence `together` holds; `tails` by question and hour."""
    memory = C.llama_get_memory(context)
    for place in range(len(prompts)):
        C.llama_memory_seq_rm(memory, place, -1, -1)
        if shared:
            C.llama_memory_seq_cp(memory, setup.together, place, -1, -1)
    starts = [len(prompt) for prompt in prompts]
    _read(context, [prompt[shared:] for prompt in prompts], [shared] * len(prompts))
    found: list[list[list[float]]] = [[] for _ in prompts]
    for chosen in zip(*tails, strict=True):
        for place, values in enumerate(_tails(context, words, chosen, starts, setup)):
            found[place].append(values)
            C.llama_memory_seq_rm(memory, place, starts[place], -1)
    return found


def _context(model: LoadedModel, work: Work) -> Any:
    setup = work.setup
    parameters = C.llama_context_default_params()
    longest = max(map(len, work.prompts)) + MOST_VALUES // VALUES_PER_TOKEN
    sequences = setup.together + setup.shared + setup.flash
    parameters.n_ctx = sequences * -(-longest // 256) * 256
    parameters.n_seq_max = sequences
    parameters.n_batch = BATCH
    parameters.n_ubatch = setup.micro
    parameters.n_threads = parameters.n_threads_batch = setup.threads
    flash = C.LLAMA_FLASH_ATTN_TYPE_ENABLED if setup.flash else C.LLAMA_FLASH_ATTN_TYPE_DISABLED
    parameters.flash_attn_type = flash
    parameters.kv_unified = setup.unified
    parameters.type_k = parameters.type_v = CACHE_TYPES[setup.cache]
    with products.offered() if setup.products else nullcontext():
        context = C.llama_init_from_model(model.handle, parameters)
    if not context:
        raise SystemExit(f"no context for {setup}")
    if work.adapter:
        file, scale = work.adapter
        handles = (C.llama_adapter_lora_p_ctypes * 1)(model.adapter(Path(file), bytes(32)))
        C.llama_set_adapters_lora(context, handles, 1, (ctypes.c_float * 1)(scale))
    return context


def _read(context: Any, prompts: Sequence[Sequence[int]], starts: Sequence[int], sequence: int = 0) -> None:
    """All prompts in full batches, which begin and end wherever they do, from the sequence on."""
    cells = [
        (token, start + at, sequence + place)
        for place, (prompt, start) in enumerate(zip(prompts, starts, strict=True))
        for at, token in enumerate(prompt)
    ]
    for start in range(0, len(cells), BATCH):
        _decode(context, cells[start : start + BATCH], rows=False)


def _tails(
    context: Any, words: int, tails: Sequence[Sequence[Step]], starts: Sequence[int], setup: Setup
) -> list[list[float]]:
    """As the evaluator reads them: with flash attention in `FEWEST_ROWS` rows, those missing in a spare sequence."""
    spare = setup.together + setup.shared
    cells = [
        (token, start + at, place)
        for place, (tail, start) in enumerate(zip(tails, starts, strict=True))
        for at, (token, *_) in enumerate(tail)
    ]
    rows = len(cells)
    if setup.flash:
        cells += [(0, place, spare) for place in range(FEWEST_ROWS - rows)]
    logits = _decode(context, cells, rows=True, words=words)[:rows].astype(np.float64)
    if setup.flash:
        C.llama_memory_seq_rm(C.llama_get_memory(context), spare, -1, -1)
    logits -= logits.max(axis=1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
    targets = [step[1:] for tail in tails for step in tail]
    values: list[list[float]] = logits[np.arange(rows)[:, None], targets].reshape(len(tails), -1).tolist()
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
