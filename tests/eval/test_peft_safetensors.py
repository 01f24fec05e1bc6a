"""The reader of safetensors: what was written comes back, and nothing else gets through."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from eval.safetensors import SafetensorsRefused, open_safetensors, parse_table
from tests.eval.peft_adapters import GOLDEN, Array, safetensors_bytes

RECORDED = (GOLDEN / "mistral" / "adapter_model.safetensors").read_bytes()
ARRAYS = st.sampled_from([np.float64, np.float32, np.float16]).flatmap(
    lambda kind: arrays.arrays(kind, arrays.array_shapes(min_dims=0, max_dims=3, max_side=4, min_side=0))
)


@given(
    st.dictionaries(st.text(min_size=1, max_size=20).filter(lambda name: name != "__metadata__"), ARRAYS, max_size=4)
)
def test_what_was_written_comes_back(tmp_path_factory: pytest.TempPathFactory, tensors: dict[str, Array]) -> None:
    path = tmp_path_factory.getbasetemp() / "written.safetensors"
    path.write_bytes(safetensors_bytes(tensors))
    file = open_safetensors(path)
    assert set(file.extents) == set(tensors)
    for name, values in tensors.items():
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(file.values(name), values.astype(np.float32))


def test_sixteen_bits_of_brain_float(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(safetensors_bytes({"x": np.array([0x3F80, 0xC040, 0x7F80, 0x0001], np.uint16)}))
    values = open_safetensors(path).values("x")
    np.testing.assert_array_equal(values, np.array([1, -3, np.inf, 2.0**-133], np.float32))


def test_integers_are_known_of_and_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(safetensors_bytes({"x": np.arange(3)}))
    file = open_safetensors(path)
    with pytest.raises(SafetensorsRefused, match="type I64"):
        file.values("x")


def entry(**changed: Any) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changed


@pytest.mark.parametrize(
    "table",
    [
        {"x": entry(shape=[3])},
        {"x": entry(shape=[-2])},
        {"x": entry(shape=[1 << 62, 1 << 62])},
        {"x": entry(shape=[1] * 9)},
        {"x": entry(shape=[2.0])},
        {"x": entry(data_offsets=[8, 0])},
        {"x": entry(data_offsets=[0, 16], shape=[4])},
        {"x": entry(data_offsets=[0, 4], shape=[1])},
        {"x": entry(), "y": entry()},
        {"x": entry(data_offsets=[0, 4], shape=[1]), "y": entry(data_offsets=[6, 8], dtype="F16", shape=[1])},
        {"x": entry(dtype=1)},
        {"x": [0]},
        {"": entry()},
        {"x" * 513: entry()},
        [],
        {},
    ],
)
def test_tables_that_are_refused(table: Any) -> None:
    with pytest.raises(SafetensorsRefused):
        parse_table(json.dumps(table).encode(), 100, 108)
    assert parse_table(json.dumps({"x": entry()}).encode(), 100, 108)["x"].start == 100


@example(b"[" * 100_000)
@example(b'{"x":' * 100_000)
@example(b'{"x": ' + b"[" * 100_000 + b"}")
@given(st.binary(max_size=200) | st.text(alphabet='{}[]":,x0123 ', max_size=80).map(str.encode))
def test_any_table_is_read_or_refused(table: bytes) -> None:
    try:
        found = parse_table(table, 8, 108)
    except SafetensorsRefused:
        return
    assert sum(extent.size for extent in found.values()) == 100


@given(st.integers(0, len(RECORDED) - 1), st.binary(min_size=1, max_size=9), st.integers(0, len(RECORDED)))
def test_a_changed_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, place: int, other: bytes, stop: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "changed.safetensors"
    for data in (RECORDED[:place] + other + RECORDED[place + len(other) :], RECORDED[:stop]):
        path.write_bytes(data)
        try:
            file = open_safetensors(path)
            values = [file.values(name) for name in file.extents]
        except SafetensorsRefused:
            continue
        assert sum(value.size for value in values) <= len(data) // 2


def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(safetensors_bytes({"x": np.ones(4, np.float32)}))
    file = open_safetensors(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(SafetensorsRefused, match="shorter"):
        file.values("x")
