"""GGUF files as bytes that depend on their content alone: for adapters that are converted here.

Format, version 3: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Tensors are F32 and written one at a
time, so that memory holds one of them.
"""

import os
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from msgspec import Struct

from eval.header import ALIGNMENT
from eval.safetensors import Values

_VERSION = 3
_FLOAT32, _STRING = 6, 8
_F32 = 0


class Pending(Struct, frozen=True):
    """A tensor that `values` will give when its turn comes: float32 of `shape`, slowest dimension first."""

    name: str
    shape: tuple[int, ...]
    values: Callable[[], Values]


def write_gguf(path: Path, metadata: Mapping[str, str | float], tensors: Sequence[Pending]) -> None:
    """Writes the file in the order given; nothing stands at `path` before all of it is written.

    Raises `OSError`, `ValueError` where values have another shape than was announced, and whatever `values` raises.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            head = _head(metadata, tensors)
            file.write(head + bytes(-len(head) % ALIGNMENT))
            for tensor in tensors:
                values = np.ascontiguousarray(tensor.values(), "<f4")
                if values.shape != tensor.shape:
                    raise ValueError(f"{tensor.name} has the shape {values.shape}, announced was {tensor.shape}")
                file.write(values.data)
                file.write(bytes(-values.nbytes % ALIGNMENT))
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _head(metadata: Mapping[str, str | float], tensors: Sequence[Pending]) -> bytes:
    head = [struct.pack("<4sIQQ", b"GGUF", _VERSION, len(tensors), len(metadata))]
    for key, value in metadata.items():
        typed = struct.pack("<I", _STRING) + _text(value) if isinstance(value, str) else _number(value)
        head.append(_text(key) + typed)
    offset = 0
    for tensor in tensors:
        dimensions = struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *reversed(tensor.shape))
        head.append(_text(tensor.name) + dimensions + struct.pack("<IQ", _F32, offset))
        size = 4 * int(np.prod(tensor.shape, dtype=np.int64))
        offset += size + -size % ALIGNMENT
    return b"".join(head)


def _text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def _number(value: float) -> bytes:
    return struct.pack("<If", _FLOAT32, value)
