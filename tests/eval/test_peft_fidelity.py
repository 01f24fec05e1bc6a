"""Converted PEFT adapters against what transformers and PEFT computed (recorded by `benchmarks/peft_fidelity.py`)."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.peft_fidelity import LIMIT, llama_logits
from eval.header import read_header
from eval.peft import BASE_KEY, convert
from eval.tensor_names import LAYERS
from tests.eval.peft_adapters import CASES, GOLDEN, Array, config_of, tensors_of, write_base, write_peft

ALL_ZERO = bytes(32)
LEAST_EFFECT = 1.0
SHA256 = {
    "gemma": "579146a3561b2d80",
    "gemma2": "d119929bec7a76b2",
    "gemma3": "af98b3c1c0f228ae",
    "llama": "0d3c3d64a4fe6cb7",
    "mistral": "fa3aebccdc063117",
    "phi2": "3dff8a460a42b725",
    "phi3": "adfb1981a6815a91",
    "qwen2": "e4eedf3bea5094a8",
    "qwen3": "e8b7abe2590b54f7",
}


def converted(case: str, folder: Path, target: str = "adapter.gguf") -> tuple[Path, Path]:
    base = folder / "base.gguf"
    convert(GOLDEN / case, write_base(case, base), ALL_ZERO, folder / target)
    return base, folder / target


@pytest.mark.parametrize("case", CASES)
def test_logits_are_those_of_transformers(case: str, tmp_path: Path) -> None:
    base, adapter = converted(case, tmp_path)
    expected = np.load(GOLDEN / case / "logits.npy")
    plain, adapted = llama_logits(base, []), llama_logits(base, [(adapter, 1.0)])
    assert np.abs(adapted - expected).max(axis=1).max() < LIMIT
    assert np.abs(adapted - plain).max(axis=1).min() > LEAST_EFFECT / 100
    assert np.abs(adapted - plain).max() > LEAST_EFFECT


@pytest.mark.parametrize("case", CASES)
def test_the_same_bytes_on_every_machine(case: str, tmp_path: Path) -> None:
    _, adapter = converted(case, tmp_path)
    _, again = converted(case, tmp_path, "again.gguf")
    assert adapter.read_bytes() == again.read_bytes()
    assert hashlib.sha256(adapter.read_bytes()).hexdigest()[:16] == SHA256[case]
    header = read_header(adapter)
    assert header.is_adapter
    assert header.metadata[BASE_KEY] == ALL_ZERO.hex()


def test_every_architecture_is_recorded(tmp_path: Path) -> None:
    assert {write_base(case, tmp_path / "base.gguf").architecture for case in CASES} == set(LAYERS)


def test_half_the_scale_is_half_the_alpha(tmp_path: Path) -> None:
    base, adapter = converted("qwen3", tmp_path)
    config = config_of("qwen3")
    halved = write_peft(tmp_path / "halved", config | {"lora_alpha": config["lora_alpha"] / 2}, tensors_of("qwen3"))
    convert(halved, read_header(base), ALL_ZERO, tmp_path / "halved.gguf")
    by_scale = llama_logits(base, [(adapter, 0.5)])
    assert np.abs(by_scale - llama_logits(base, [(tmp_path / "halved.gguf", 1.0)])).max() < 1e-4
    assert np.abs(by_scale - llama_logits(base, [(adapter, 1.0)])).max() > LEAST_EFFECT


def test_two_adapters_are_one_of_both_ranks(tmp_path: Path) -> None:
    """B1 A1 x + B2 A2 x is [B1 B2] [A1; A2] x, with the same alpha / rank of each."""
    base, first = converted("mistral", tmp_path)
    config = config_of("mistral") | {"use_rslora": False}
    both: dict[str, Array] = {}
    draws = np.random.default_rng(5)
    ones, twos = tensors_of("mistral"), {}
    for name, values in ones.items():
        twos[name] = (values + draws.standard_normal(values.shape) / 8).astype(np.float32)
        both[name] = np.concatenate((values, twos[name]), axis=0 if ".lora_A." in name else 1)
    written: list[Path] = []
    for number, (rank, tensors) in enumerate(((2, ones), (2, twos), (4, both))):
        settings = config | {"r": rank, "lora_alpha": 1.5 * rank}
        written.append(tmp_path / f"{number}.gguf")
        convert(write_peft(tmp_path / str(number), settings, tensors), read_header(base), ALL_ZERO, written[-1])
    together = llama_logits(base, [(written[0], 1.0), (written[1], 1.0)])
    assert np.abs(together - llama_logits(base, [(written[2], 1.0)])).max() < 1e-3
    for alone in (written[0], written[1], first):
        assert np.abs(together - llama_logits(base, [(alone, 1.0)])).max() > LEAST_EFFECT


def test_the_same_strength_said_in_three_ways(tmp_path: Path) -> None:
    """Plain, rank-stabilised, and by patterns that name every layer: only the alphas differ."""
    base = tmp_path / "base.gguf"
    header = write_base("phi3", base)
    config, tensors = config_of("phi3") | {"r": 2, "lora_alpha": 5}, tensors_of("phi3")
    ways: list[dict[str, Any]] = [
        {},
        {"use_rslora": True, "lora_alpha": 5 / 2**0.5},
        {
            "lora_alpha": 40,
            "alpha_pattern": {"self_attn.qkv_proj": 5, r"mlp\.gate_up_proj$": 5, "o_proj": 5, "down_proj": 5},
        },
    ]
    found = []
    for number, way in enumerate(ways):
        target = tmp_path / f"{number}.gguf"
        convert(write_peft(tmp_path / str(number), config | way, tensors), header, ALL_ZERO, target)
        found.append(llama_logits(base, [(target, 1.0)]))
    expected = np.load(GOLDEN / "phi3" / "logits.npy")
    assert all(np.abs(each - expected).max() < LIMIT for each in found)


def test_heads_that_differ_by_layer(tmp_path: Path) -> None:
    """Head counts may be an array in the base's header: the layer's own count turns its rows."""
    base, adapter = converted("llama", tmp_path)
    header = read_header(base)
    listed = {"llama.attention.head_count": (4, 4), "llama.attention.head_count_kv": (2, 2)}
    other = type(header)(dict(header.metadata) | listed, header.tensors, header.token_types, header.file_size)
    convert(GOLDEN / "llama", other, ALL_ZERO, tmp_path / "listed.gguf")
    assert (tmp_path / "listed.gguf").read_bytes() == adapter.read_bytes()
