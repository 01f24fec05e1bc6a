"""The header of a GGUF file, read within bounds and without trust: what the model is, before anything loads it.

llama.cpp aborts on some malformed files and other readers follow a count of 2^60 to its end. This one reads at most
`MAX_HEADER_BYTES`, checks every count against the bytes that are there, and gives a `Header` or `HeaderRefused`, and
nothing else. Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import math
import os
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from eval.weights import FILE_TYPES, WEIGHT_TYPES

MAX_HEADER_BYTES = 64 << 20
MAX_KEYS = 4096
MAX_TENSORS = 65_536
MAX_ARRAY = 2_000_000
MAX_NAME = 256
KEPT_ARRAY = 1024  # longer arrays are checked and skipped
MAX_ELEMENTS = 1 << 42
ALIGNMENT = 32
NORMAL_TOKEN = 1
_TOKEN_TYPES = "tokenizer.ggml.token_type"  # noqa: S105  (a key, not a secret)
_STRING, _ARRAY = 8, 9
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}

Value = int | float | bool | str | tuple[int | float | bool, ...]


class HeaderRefused(Exception):
    """The file is no GGUF file that could be evaluated; the message says where and why."""


class Tensor(Struct, frozen=True):
    """One tensor: its shape (fastest dimension first), weight type, and where its bytes lie behind the header."""

    name: str
    shape: tuple[int, ...]
    weight_type: int
    offset: int
    size: int

    @property
    def elements(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)


class Header(Struct, frozen=True):
    """What the file says about itself. `token_types` has one entry per token of the vocabulary, or none."""

    metadata: Mapping[str, Value]
    tensors: tuple[Tensor, ...]
    token_types: NDArray[np.int32]
    file_size: int

    @property
    def architecture(self) -> str:
        """Name of the architecture, such as `llama`."""
        return str(self.metadata["general.architecture"])

    @property
    def is_adapter(self) -> bool:
        """Whether the file is a LoRA adapter and no model."""
        return self.metadata.get("general.type") == "adapter"

    @property
    def parameters(self) -> int:
        """Number of weights in all tensors."""
        return sum(tensor.elements for tensor in self.tensors)

    @property
    def weight_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.size for tensor in self.tensors)

    @property
    def quantisation(self) -> str:
        """The weight type that most weights of matrices have, by the tensors themselves: a file can misstate its own.

        A mixture such as `Q4_K_M` keeps the name that the file gives it where that name's family is the tensors'.
        """
        counted: dict[int, int] = {}
        for tensor in self.tensors:
            if len(tensor.shape) >= 2:
                counted[tensor.weight_type] = counted.get(tensor.weight_type, 0) + tensor.elements
        if not counted:
            return "F32"
        most = max(sorted(counted), key=counted.__getitem__)
        family = WEIGHT_TYPES[most].name
        stated = FILE_TYPES.get(self.integer("general.file_type", -1), family)
        return stated if stated.startswith(family + "_") else family

    @property
    def eligible(self) -> list[int]:
        """Ascending ids of the tokens of type NORMAL: what a fingerprint's tail is drawn from."""
        ids: list[int] = np.flatnonzero(self.token_types == NORMAL_TOKEN).tolist()
        return ids

    def integer(self, key: str, default: int) -> int:
        """An integer of the metadata, or `default` where it is missing or something else."""
        value = self.metadata.get(key, default)
        return value if isinstance(value, int) and not isinstance(value, bool) else default

    def of_architecture(self, key: str, default: int) -> int:
        """An integer under the architecture's own prefix; of an array (one per layer) the largest."""
        value = self.metadata.get(f"{self.architecture}.{key}")
        if isinstance(value, tuple):
            numbers = [item for item in value if isinstance(item, int)]
            return max(numbers, default=default)
        return self.integer(f"{self.architecture}.{key}", default)


def read_header(path: Path) -> Header:
    """The header of the file at `path`. Raises `HeaderRefused`; `OSError` where the file cannot be read at all."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        return parse_header(file.read(MAX_HEADER_BYTES), size)


def parse_header(data: bytes, file_size: int) -> Header:
    """The header at the start of `data`, of a file of `file_size` bytes. Raises `HeaderRefused`, nothing else."""
    try:
        return _parse(_Reader(data), file_size)
    except (struct.error, UnicodeDecodeError, OverflowError) as error:
        raise HeaderRefused(f"the header is damaged: {error}") from None


class _Reader:
    """Little-endian values from bytes that may end anywhere."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0

    def take(self, count: int) -> memoryview:
        """The next `count` bytes."""
        if count > len(self._data) - self.position:
            raise HeaderRefused("the header ends early, or is larger than a header may be")
        start = self.position
        self.position += count
        return memoryview(self._data)[start : self.position]

    def number(self, code: str) -> int:
        """The next integer of the struct code."""
        layout = struct.Struct("<" + code)
        value: int = layout.unpack(self.take(layout.size))[0]
        return value

    def string(self) -> bytes:
        """The next string: a 64-bit length, then bytes."""
        return bytes(self.take(self.number("Q")))

    def name(self) -> str:
        """The next string as a name of bounded length."""
        value = self.string()
        if not 0 < len(value) <= MAX_NAME:
            raise HeaderRefused("a name is empty or too long")
        return value.decode("utf-8")


def _parse(reader: _Reader, file_size: int) -> Header:
    if bytes(reader.take(4)) != b"GGUF":
        raise HeaderRefused("the file does not begin as a GGUF file does")
    version, tensor_count, key_count = reader.number("I"), reader.number("Q"), reader.number("Q")
    if version not in (2, 3):
        raise HeaderRefused(f"version {version} of GGUF is not supported")
    if tensor_count > MAX_TENSORS or key_count > MAX_KEYS:
        raise HeaderRefused(f"{tensor_count} tensors and {key_count} keys are more than a model has")
    metadata: dict[str, Value] = {}
    token_types = np.empty(0, np.int32)
    for _ in range(key_count):
        key = reader.name()
        if key in metadata:
            raise HeaderRefused(f"the key {key!r} occurs twice")
        value = _value(reader, reader.number("I"))
        if isinstance(value, np.ndarray):
            if key == _TOKEN_TYPES:
                token_types = value.astype(np.int32)
            metadata[key] = tuple(value.tolist()) if len(value) <= KEPT_ARRAY else ()
        else:
            metadata[key] = value
    if not isinstance(metadata.get("general.architecture"), str):
        raise HeaderRefused("the file names no architecture")
    tensors = tuple(_tensor(reader) for _ in range(tensor_count))
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise HeaderRefused("a tensor's name occurs twice")
    _check_extents(tensors, metadata, reader.position, file_size)
    return Header(metadata, tensors, token_types, file_size)


def _value(reader: _Reader, kind: int) -> Value | NDArray[np.generic]:
    if kind in _SCALARS:
        return reader.number(_SCALARS[kind])
    if kind == _STRING:
        return reader.string().decode("utf-8", "replace")
    if kind == _ARRAY:
        return _array(reader)
    raise HeaderRefused(f"a value has the unknown type {kind}")


def _array(reader: _Reader) -> Value | NDArray[np.generic]:
    kind, count = reader.number("I"), reader.number("Q")
    if count > MAX_ARRAY:
        raise HeaderRefused(f"an array of {count} values is longer than a header may hold")
    if kind in _SCALARS:
        item = np.dtype("<" + _SCALARS[kind].replace("b", "i1").replace("B", "u1").replace("?", "u1"))
        return np.frombuffer(reader.take(count * item.itemsize), item)
    if kind == _STRING:
        for _ in range(count):
            reader.take(reader.number("Q"))
        return ()
    raise HeaderRefused(f"an array holds values of type {kind}")


def _tensor(reader: _Reader) -> Tensor:
    name, dimensions = reader.name(), reader.number("I")
    if not 1 <= dimensions <= 4:
        raise HeaderRefused(f"the tensor {name!r} has {dimensions} dimensions")
    shape = tuple(reader.number("Q") for _ in range(dimensions))
    number, offset = reader.number("I"), reader.number("Q")
    kind = WEIGHT_TYPES.get(number)
    if kind is None:
        raise HeaderRefused(f"the tensor {name!r} has the unknown weight type {number}")
    elements = math.prod(shape)
    if not 0 < elements <= MAX_ELEMENTS or shape[0] % kind.block:
        raise HeaderRefused(f"the tensor {name!r} has an impossible shape")
    return Tensor(name, shape, number, offset, elements // kind.block * kind.block_bytes)


def _check_extents(tensors: tuple[Tensor, ...], metadata: Mapping[str, Value], header_end: int, file_size: int) -> None:
    alignment = metadata.get("general.alignment", ALIGNMENT)
    if type(alignment) is not int or alignment < 1 or alignment > 1 << 20 or alignment & (alignment - 1):
        raise HeaderRefused("the alignment is no small power of two")
    start = -(-header_end // alignment) * alignment
    for tensor in tensors:
        if tensor.offset % alignment or start + tensor.offset + tensor.size > file_size:
            raise HeaderRefused(f"the tensor {tensor.name!r} does not lie within the file")
