"""The safetensors format, read within bounds and without trust: a table of tensors, then their values one at a time.

A file is eight bytes that give the length of a JSON object, the object (name to dtype, shape and extent), and the
tensors' bytes without a gap: https://huggingface.co/docs/safetensors/index#format. Every extent is held against the
shape and the file's size before anything is read, so that a `SafetensorsRefused` costs no memory.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

MAX_HEADER_BYTES = 16 << 20
MAX_TENSORS = 65_536
MAX_NAME = 512
MAX_DIMENSIONS = 8
MAX_ELEMENTS = 1 << 40
BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
"""The types that values can have; others (integers, eight-bit floats) are no adapter's."""

_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}
_METADATA = "__metadata__"
_Number = Annotated[int, Meta(ge=0, le=1 << 62)]

Values = NDArray[np.float32]


class SafetensorsRefused(Exception):
    """The file is no safetensors file, or holds what cannot be read; the message says where and why."""


class Extent(Struct, frozen=True):
    """One tensor: its type, its shape (slowest dimension first) and where its bytes lie in the file."""

    kind: str
    shape: tuple[int, ...]
    start: int
    size: int


class SafetensorsFile(Struct, frozen=True):
    """The tensors of the file at `path`, by name."""

    path: Path
    extents: Mapping[str, Extent]

    def values(self, name: str) -> Values:
        """The tensor as float32; what float64 holds beyond it becomes infinite. Raises `SafetensorsRefused`."""
        extent = self.extents[name]
        if extent.kind not in BYTES:
            raise SafetensorsRefused(f"the tensor {name!r} has values of type {extent.kind}")
        try:
            with self.path.open("rb") as file:
                file.seek(extent.start)
                data = file.read(extent.size)
        except OSError as error:
            raise SafetensorsRefused(f"the file cannot be read: {error.strerror}") from None
        if len(data) != extent.size:
            raise SafetensorsRefused("the file became shorter while it was read")
        if extent.kind == "BF16":  # the upper half of a float32
            return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32).reshape(extent.shape)
        with np.errstate(over="ignore"):
            return np.frombuffer(data, _TYPES[extent.kind]).astype(np.float32).reshape(extent.shape)


class _Entry(Struct, frozen=True):
    dtype: str
    shape: Annotated[tuple[_Number, ...], Meta(max_length=MAX_DIMENSIONS)]
    data_offsets: tuple[_Number, _Number]


def open_safetensors(path: Path) -> SafetensorsFile:
    """The table of the file at `path`. Raises `SafetensorsRefused`; `OSError` where it cannot be read at all."""
    with path.open("rb") as file:
        file_size = file.seek(0, 2)
        file.seek(0)
        prefix = file.read(8)
        length = int.from_bytes(prefix, "little")
        if len(prefix) < 8 or length > min(MAX_HEADER_BYTES, file_size - 8):
            raise SafetensorsRefused("the file does not begin as a safetensors file does")
        return SafetensorsFile(path, parse_table(file.read(length), 8 + length, file_size))


def parse_table(table: bytes, start: int, file_size: int) -> dict[str, Extent]:
    """The tensors of a JSON table, whose bytes begin at `start`. Raises `SafetensorsRefused`, nothing else."""
    try:
        raw = msgspec.json.decode(table, type=dict[str, msgspec.Raw])
        raw.pop(_METADATA, None)
        if len(raw) > MAX_TENSORS:
            raise SafetensorsRefused(f"{len(raw)} tensors are more than an adapter has")
        entries = {name: msgspec.json.decode(value, type=_Entry) for name, value in raw.items()}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SafetensorsRefused(f"the table of tensors is damaged: {error}") from None
    found = {name: _extent(name, entry, start) for name, entry in entries.items()}
    end = start
    for extent in sorted(found.values(), key=lambda each: (each.start, each.size)):
        if extent.start != end:
            raise SafetensorsRefused("the tensors overlap, or leave a gap between them")
        end += extent.size
    if end != file_size:
        raise SafetensorsRefused(f"the tensors end at byte {end}, the file at {file_size}")
    return found


def _extent(name: str, entry: _Entry, start: int) -> Extent:
    if not 0 < len(name) <= MAX_NAME:
        raise SafetensorsRefused("a tensor's name is empty or too long")
    first, stop = entry.data_offsets
    elements = math.prod(entry.shape)
    if elements > MAX_ELEMENTS or stop < first:
        raise SafetensorsRefused(f"the tensor {name!r} has an impossible shape or extent")
    if entry.dtype in BYTES and stop - first != elements * BYTES[entry.dtype]:
        raise SafetensorsRefused(f"the tensor {name!r} has {stop - first} bytes, which its shape does not take")
    return Extent(entry.dtype, entry.shape, start + first, stop - first)


def json_object(data: bytes) -> dict[str, Any]:
    """A JSON object. Raises `SafetensorsRefused` where the bytes are none."""
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SafetensorsRefused(f"it is no JSON object: {error}") from None
