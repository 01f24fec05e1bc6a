"""PEFT adapters for tests: recorded ones of every architecture, and files of safetensors written by hand."""

import json
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from benchmarks.peft_fidelity import drawn
from eval.header import Header, read_header
from eval.safetensors import open_safetensors
from tests.eval.tiny_models import gguf_bytes

GOLDEN = Path(__file__).parent / "peft_golden"
CASES = sorted(place.name for place in GOLDEN.iterdir())
Array = NDArray[Any]


def write_base(case: str, path: Path) -> Header:
    """The base of a recorded adapter: its shapes are recorded, its weights follow from their names."""
    recorded = json.loads((GOLDEN / case / "base.json").read_text(encoding="utf-8"))
    metadata = {"general.architecture": architecture_of(recorded)} | recorded["metadata"]
    tensors = {name: drawn(name, tuple(shape)) for name, shape in recorded["shapes"].items()}
    path.write_bytes(gguf_bytes(metadata, tensors))
    return read_header(path)


def architecture_of(recorded: dict[str, Any]) -> str:
    """The architecture that a base's keys begin with."""
    keys: list[str] = [key for key in recorded["metadata"] if key.endswith(".block_count")]
    return keys[0].split(".")[0]


def tensors_of(case: str) -> dict[str, Array]:
    """A recorded adapter's tensors, as float32."""
    file = open_safetensors(GOLDEN / case / "adapter_model.safetensors")
    return {name: file.values(name).copy() for name in file.extents}


def config_of(case: str) -> dict[str, Any]:
    """A recorded adapter's configuration."""
    found: dict[str, Any] = json.loads((GOLDEN / case / "adapter_config.json").read_text(encoding="utf-8"))
    return found


def write_peft(folder: Path, config: dict[str, Any], tensors: dict[str, Array]) -> Path:
    """An adapter's folder with these two files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "adapter_model.safetensors").write_bytes(safetensors_bytes(tensors))
    return folder


def safetensors_bytes(tensors: dict[str, Array]) -> bytes:
    """A file of safetensors; 16-bit unsigned integers stand for bfloat16."""
    kinds = {"float64": "F64", "float32": "F32", "float16": "F16", "uint16": "BF16", "int64": "I64"}
    table: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    body = b""
    for name, values in tensors.items():
        data = values.tobytes()
        table[name] = {
            "dtype": kinds[values.dtype.name],
            "shape": list(values.shape),
            "data_offsets": [len(body), len(body) + len(data)],
        }
        body += data
    head = json.dumps(table).encode()
    return len(head).to_bytes(8, "little") + head + body
