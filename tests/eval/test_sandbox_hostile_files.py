"""Files made to break llama.cpp: each is a typed failure, its child's at most, and the next job has an outcome."""

import random
import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from eval.client import open_worker
from eval.job import AdapterFile, Job, JobFailed, Outcome
from protocol.failures import Failure
from tests.eval.tiny_models import LAYERS, Typed, gguf_bytes, llama_metadata, llama_tensors, vocabulary, write_adapter

PAGE = Path(__file__).parents[2] / "docs/sandbox.md"


def changed(**metadata: Any) -> bytes:
    return gguf_bytes(
        llama_metadata() | {key.replace("__", "."): value for key, value in metadata.items()}, llama_tensors()
    )


def flat_norm() -> bytes:
    tensors = llama_tensors()
    for layer in range(LAYERS):
        name = f"blk.{layer}.attn_norm.weight"
        tensors[name] = tensors[name].astype(np.float16).reshape(1, -1)
    return gguf_bytes(llama_metadata(), tensors)


def without_a_tensor() -> bytes:
    tensors = llama_tensors()
    del tensors["blk.1.attn_q.weight"]
    return gguf_bytes(llama_metadata(), tensors)


def not_finite() -> bytes:
    tensors = llama_tensors()
    tensors["output.weight"][:] = np.nan
    return gguf_bytes(llama_metadata(), tensors)


def overlapping() -> bytes:
    """The second tensor's offset, which stands behind its name and shape, is the first one's."""
    content, name = llama(), b"output_norm.weight"
    place = content.index(name) + len(name) + struct.calcsize("<IQI")
    return content[:place] + bytes(8) + content[place + 8 :]


def llama() -> bytes:
    return gguf_bytes(llama_metadata(), llama_tensors())


HOSTILE: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "noise": lambda: b"GGUF" + random.Random(1).randbytes(5000),
    "half": lambda: gguf_bytes(llama_metadata(), llama_tensors())[:20_000],
    "duplicate tokens": lambda: changed(tokenizer__ggml__tokens=[*vocabulary()[0][:-1], vocabulary()[0][-2]]),
    "epsilon not a number": lambda: changed(llama__attention__layer_norm_rms_epsilon=float("nan")),
    "two billion layers": lambda: changed(llama__block_count=1 << 31),
    "no heads": lambda: changed(llama__attention__head_count=0),
    "unknown architecture": lambda: changed(general__architecture="hal9000"),
    "another tokenizer": lambda: changed(tokenizer__ggml__model="llama"),
    "norm of two dimensions": flat_norm,
    "missing tensor": without_a_tensor,
    "weights not finite": not_finite,
    "tensors that overlap": overlapping,
    "more tensors than bytes": lambda: llama()[:8] + struct.pack("<Q", 1 << 60) + llama()[16:],
    "part of a divided model": lambda: changed(split__count=3, split__no=0),
}


def documented() -> dict[str, Failure]:
    """What the page says of each file."""
    rows: list[tuple[str, str]] = re.findall(
        r"^\| (\w[^|`]*) \| `([A-Z_]+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE
    )
    return {name: Failure[reason] for name, reason in rows}


def test_the_page_names_every_file() -> None:
    assert set(documented()) == {*HOSTILE, *ADAPTERS}


def job(path: Path, **more: Any) -> Job:
    return Job(base=str(path), base_sha256=bytes(32), benchmark="tally-choice", questions=(0, 1), **more)


async def test_hostile_models_are_typed_failures(tiny: Path, tmp_path: Path) -> None:
    async with open_worker() as worker:
        for name, content in HOSTILE.items():
            path = tmp_path / f"{name}.gguf"
            path.write_bytes(content())
            answer = await worker.evaluate(job(path))
            assert isinstance(answer, JobFailed), name
            assert answer.failure is documented()[name], (name, answer)
        assert isinstance(await worker.evaluate(job(tiny)), Outcome)


def adapter(alpha: float, **more: Any) -> bytes:
    metadata = {"general.architecture": "llama", "general.type": "adapter", "adapter.type": "lora"} | more
    return gguf_bytes(metadata | {"adapter.lora.alpha": alpha}, {})


def spoilt(path: Path) -> None:
    """An adapter whose last weights are not finite: llama.cpp does not look."""
    content = write_adapter(path).read_bytes()
    path.write_bytes(content[:-64] + np.full(16, np.nan, np.float32).tobytes())


AWAITED = {"adapter.alora.invocation_tokens": Typed(4, [5, 6])}
ADAPTERS: dict[str, Callable[[Path], object]] = {
    "adapter whose alpha is not a number": lambda path: path.write_bytes(adapter(float("nan"))),
    "adapter whose alpha is infinite": lambda path: path.write_bytes(adapter(float("inf"))),
    "adapter of another shape": lambda path: write_adapter(path, inputs=128),
    "adapter that ends early": lambda path: path.write_bytes(adapter(1.0)[:40]),
    "adapter that is noise": lambda path: path.write_bytes(b"GGUF" + random.Random(2).randbytes(5000)),
    "adapter whose weights are not finite": spoilt,
    "adapter that waits for certain tokens": lambda path: path.write_bytes(adapter(1.0, **AWAITED)),
    "adapter that is a model": lambda path: path.write_bytes(gguf_bytes(llama_metadata(), llama_tensors())),
}


async def test_hostile_adapters_are_typed_failures(tiny: Path, tmp_path: Path) -> None:
    async with open_worker() as worker:
        for name, make in ADAPTERS.items():
            path = tmp_path / f"{name}.gguf"
            make(path)
            answer = await worker.evaluate(job(tiny, adapters=(AdapterFile(str(path), bytes(32)),)))
            assert isinstance(answer, JobFailed), name
            assert answer.failure is documented()[name], (name, answer)
        assert isinstance(await worker.evaluate(job(tiny)), Outcome)


def mutated(content: bytes, head: int, draws: random.Random) -> bytes:
    """Somewhere in the first `head` bytes another byte, or another number; or less of it."""
    changed, place = bytearray(content), draws.randrange(head - 8)
    number = draws.choice([0, 1, (1 << 31) - 1, 1 << 32, 1 << 48, (1 << 63) - 1, (1 << 64) - 1])
    match draws.randrange(4):
        case 0:
            changed[place] ^= 1 << draws.randrange(8)
        case 1:
            changed[place : place + 8] = number.to_bytes(8, "little")
        case 2:
            changed[place : place + 4] = (number & 0xFFFFFFFF).to_bytes(4, "little")
        case 3:
            del changed[draws.randrange(len(changed)) :]
    return bytes(changed)


def damaged(adapter: Path, count: int) -> Iterator[tuple[bool, bytes]]:
    """Three models, then an adapter, and so on; whether it is a model."""
    draws, models, adapters = random.Random(5), llama(), adapter.read_bytes()
    for number in range(count):
        is_model = number % 4 > 0
        content, name = (models, b"output_norm.weight") if is_model else (adapters, b"blk.1.attn_q.weight.lora_a")
        yield is_model, mutated(content, content.index(name), draws)


async def test_damaged_files_are_the_models_failures(tiny: Path, adapter: Path, tmp_path: Path) -> None:
    """Some are evaluated all the same: a name or a number that nobody looks at was changed."""
    file, seen = tmp_path / "damaged.gguf", set[Failure]()
    async with open_worker() as worker:
        for number, (is_model, content) in enumerate(damaged(adapter, 40)):
            file.write_bytes(content)
            asked = job(file) if is_model else job(tiny, adapters=(AdapterFile(str(file), bytes(32)),))
            answer = await worker.evaluate(msgspec.structs.replace(asked, base_sha256=bytes([number] * 32)))
            if isinstance(answer, JobFailed):
                assert answer.failure.of_model, answer
                seen.add(answer.failure)
        assert isinstance(await worker.evaluate(job(tiny)), Outcome)
    assert {Failure.MODEL_REFUSED, Failure.ADAPTER_REFUSED} <= seen
