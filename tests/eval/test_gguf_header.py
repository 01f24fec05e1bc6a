"""The header reader: right about good files, and only ever refusing about others."""

import ctypes
import struct
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.binding import C
from eval.header import Header, HeaderRefused, parse_header, read_header
from eval.weights import WEIGHT_TYPES
from tests.eval.tiny_models import Typed, gguf_bytes, llama_metadata, llama_tensors, vocabulary

GOOD = gguf_bytes(llama_metadata(), llama_tensors())


def parse(data: bytes) -> Header:
    return parse_header(data, len(data))


def test_reads_what_the_file_says(tiny: Path) -> None:
    header = read_header(tiny)
    tensors = llama_tensors()
    assert header.architecture == "llama"
    assert not header.is_adapter
    assert header.parameters == sum(array.size for array in tensors.values())
    assert header.weight_bytes == sum(array.nbytes for array in tensors.values())
    assert header.quantisation == "F16"
    assert header.of_architecture("context_length", 0) == 2048
    assert {tensor.name for tensor in header.tensors} == set(tensors)


def test_eligible_tokens_are_the_normal_ones_in_ascending_order() -> None:
    tokens, types = vocabulary()
    eligible = parse(GOOD).eligible
    assert eligible == [number for number, kind in enumerate(types) if kind == 1]
    assert len(eligible) < len(tokens)


def test_adapters_are_told_apart(adapter: Path) -> None:
    assert read_header(adapter).is_adapter


def test_weight_types_have_the_sizes_that_llama_cpp_gives_them() -> None:
    import llama_cpp._ggml as ggml  # the library that has the functions

    library = ggml.libggml_base if hasattr(ggml, "libggml_base") else ggml.libggml
    library.ggml_blck_size.restype = ctypes.c_int64
    library.ggml_type_size.restype = ctypes.c_size_t
    library.ggml_type_name.restype = ctypes.c_char_p
    for number, kind in WEIGHT_TYPES.items():
        assert library.ggml_type_name(number).decode().upper() == kind.name
        assert library.ggml_blck_size(number) == kind.block
        assert library.ggml_type_size(number) == kind.block_bytes


@pytest.mark.parametrize(("file_type", "expected"), [(15, "F16"), (1, "F16"), (2, "F16"), (999, "F16")])
def test_a_file_cannot_pass_for_a_quantised_one(file_type: int, expected: str) -> None:
    metadata = llama_metadata() | {"general.file_type": file_type}
    assert parse(gguf_bytes(metadata, llama_tensors())).quantisation == expected


def test_arrays_of_heads_count_with_the_largest() -> None:
    metadata = llama_metadata() | {"llama.attention.head_count_kv": Typed(5, [1, 4])}
    assert parse(gguf_bytes(metadata, llama_tensors())).of_architecture("attention.head_count_kv", 0) == 4


def patched(offset: int, layout: str, value: int) -> bytes:
    data = bytearray(GOOD)
    struct.pack_into(layout, data, offset, value)
    return bytes(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GGUF",
        b"NOPE" + GOOD[4:],
        GOOD[:100],
        GOOD[:-64],  # the last tensor is not all there
        patched(4, "<I", 9),  # version
        patched(8, "<Q", 1 << 60),  # tensors
        patched(16, "<Q", 1 << 60),  # keys
        patched(24, "<Q", 1 << 63),  # length of the first key
        gguf_bytes({"a": 1}, {}),  # no architecture
        gguf_bytes(llama_metadata() | {"general.alignment": 3}, llama_tensors()),
        gguf_bytes(llama_metadata() | {"x" * 300: 1}, {}),
    ],
)
def test_refuses_malformed_files(data: bytes) -> None:
    with pytest.raises(HeaderRefused):
        parse(data)


def test_an_array_of_impossible_length_is_refused_at_once() -> None:
    huge = struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + struct.pack("<Q", 1) + b"k"
    huge += struct.pack("<IIQ", 9, 8, 1 << 60)
    with pytest.raises(HeaderRefused, match="longer than"):
        parse(huge)


@given(st.binary(max_size=400))
def test_any_bytes_give_a_header_or_a_refusal(data: bytes) -> None:
    for candidate in (data, b"GGUF\x03\0\0\0" + data):
        with suppress(HeaderRefused):
            assert isinstance(parse(candidate), Header)


@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=8), st.data())
def test_any_mutation_of_a_good_file_gives_a_header_or_a_refusal(
    changes: list[tuple[int, int]], data: st.DataObject
) -> None:
    mutated = bytearray(GOOD)
    header_end = GOOD.index(bytes(64)) if bytes(64) in GOOD else len(GOOD)
    for place, value in changes:
        mutated[place % max(1, header_end)] = value
    cut = data.draw(st.integers(0, len(mutated)) | st.just(len(mutated)))
    try:
        header = parse(bytes(mutated[:cut]))
        assert header.architecture
        assert header.parameters >= 0
        assert header.quantisation
        assert all(isinstance(token, int) for token in header.eligible)
    except HeaderRefused:
        pass


def test_llama_cpp_agrees_about_the_parameters(tiny: Path) -> None:
    from eval.model import LoadedModel

    with LoadedModel(tiny) as model:
        assert C.llama_model_n_params(model.handle) == read_header(tiny).parameters


def test_token_types_of_other_integer_widths_are_understood() -> None:
    _, types = vocabulary()
    metadata = llama_metadata() | {"tokenizer.ggml.token_type": Typed(5, types)}
    header = parse(gguf_bytes(metadata, llama_tensors()))
    assert header.token_types.dtype == np.int32
    assert header.token_types.tolist() == types
