"""A model beside another: its weights with noise, or a random adapter of a given strength for it.

What a sibling checkpoint is to a fingerprint, in a dose that can be chosen: a strength is the share of the weights'
root mean square by which they are off.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.header import ALIGNMENT, Header, Tensor, read_header
from tests.eval.tiny_models import gguf_bytes

F16 = 1
RANK = 8
ADAPTED = ("attn_q.weight", "attn_v.weight")


def with_noise(source: Path, strength: float, target: Path) -> Path:
    """Writes the F16 file at `source` with each weight of its matrices times 1 + `strength` · N(0, 1)."""
    header = read_header(source)
    draws = np.random.default_rng(1)
    data = bytearray(source.read_bytes())
    for tensor, place in _matrices(header):
        weights = np.frombuffer(data, np.float16, tensor.elements, place)
        noisy = weights * (1 + strength * draws.standard_normal(tensor.elements, np.float32))
        data[place : place + tensor.size] = noisy.astype(np.float16).tobytes()
    return _written(bytes(data), target)


def random_adapter(source: Path, strength: float, target: Path) -> Path:
    """A LoRA adapter for the F16 file at `source`, on queries and values: what it adds is `strength` of their norms."""
    header = read_header(source)
    draws = np.random.default_rng(2)
    data = source.read_bytes()
    tensors: dict[str, NDArray[Any]] = {}
    for tensor, place in _matrices(header):
        if tensor.name.endswith(ADAPTED):
            inputs, outputs = tensor.shape
            before = draws.standard_normal((RANK, inputs), np.float32)
            behind = draws.standard_normal((outputs, RANK), np.float32)
            norm = np.linalg.norm(np.frombuffer(data, np.float16, tensor.elements, place).astype(np.float32))
            behind *= strength * norm / np.linalg.norm(behind @ before)
            tensors |= {tensor.name + ".lora_a": before, tensor.name + ".lora_b": behind}
    metadata = {
        "general.architecture": header.architecture,
        "general.type": "adapter",
        "adapter.type": "lora",
        "adapter.lora.alpha": float(RANK),
    }
    return _written(gguf_bytes(metadata, tensors), target)


def _matrices(header: Header) -> Iterator[tuple[Tensor, int]]:
    """Each F16 tensor and where its bytes begin in the file."""
    end = max(tensor.offset + tensor.size for tensor in header.tensors)
    start = (header.file_size - end) // ALIGNMENT * ALIGNMENT
    for tensor in header.tensors:
        if tensor.weight_type == F16:
            yield tensor, start + tensor.offset


def _written(data: bytes, target: Path) -> Path:
    partial = target.with_name(target.name + ".partial")
    partial.write_bytes(data)
    return partial.replace(target)
