"""PEFT adapters that cannot be applied: each is refused with its reason, none becomes a file."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval import peft
from eval.header import Header, read_header
from eval.peft import BASE_KEY, check_base, convert
from eval.peft_refusals import AdapterRefused, Refusal
from eval.peft_settings import read_settings
from protocol.failures import Failure
from tests.eval.peft_adapters import GOLDEN, Array, config_of, tensors_of, write_base, write_peft

Q = "base_model.model.model.layers.0.self_attn.q_proj"
Tensors = dict[str, Array]
Change = Callable[[Tensors], object]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Header:
    return write_base("llama", tmp_path_factory.mktemp("bases") / "llama.gguf")


@pytest.fixture(scope="module")
def tied(tmp_path_factory: pytest.TempPathFactory) -> Header:
    return write_base("qwen2", tmp_path_factory.mktemp("bases") / "qwen2.gguf")


def refusal(folder: Path, config: dict[str, Any], tensors: Tensors, base: Header) -> AdapterRefused:
    target = folder / "adapter.gguf"
    with pytest.raises(AdapterRefused) as refused:
        convert(write_peft(folder / "adapter", config, tensors), base, bytes(32), target)
    assert sorted(path.name for path in folder.iterdir()) == ["adapter"]
    assert refused.value.failure is Failure.ADAPTER_REFUSED
    assert refused.value.detail.endswith(".")
    return refused.value


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"peft_type": "LOHA"}, Refusal.PEFT_TYPE),
        ({"peft_type": None}, Refusal.PEFT_TYPE),
        ({"use_dora": True}, Refusal.DORA),
        ({"bias": "all"}, Refusal.BIAS),
        ({"lora_bias": True}, Refusal.BIAS),
        ({"modules_to_save": ["lm_head"]}, Refusal.WHOLE_LAYERS),
        ({"trainable_token_indices": [1]}, Refusal.EMBEDDINGS),
        ({"init_lora_weights": "pissa"}, Refusal.INITIALISATION),
        ({"init_lora_weights": ["gaussian"]}, Refusal.INITIALISATION),
        ({"layer_replication": [[0, 1]]}, Refusal.SETTING),
        ({"alora_invocation_tokens": [1, 2]}, Refusal.SETTING),
        ({"target_parameters": ["experts.w"]}, Refusal.SETTING),
        ({"use_qalora": True}, Refusal.SETTING),
        ({"use_something_new": True}, Refusal.SETTING),
        ({"something_config": {"a": 1}}, Refusal.SETTING),
        ({"alpha_pattern": {"(a+)+b": 3}}, Refusal.SETTING),
        ({"alpha_pattern": {"q_proj": 0}}, Refusal.SCALE),
        ({"lora_alpha": 0}, Refusal.SCALE),
        ({"lora_alpha": -1}, Refusal.SCALE),
        ({"lora_alpha": None}, Refusal.SCALE),
        ({"lora_alpha": 10**400}, Refusal.SCALE),
        ({"r": 10**18}, Refusal.FILES),
        ({"r": 3}, Refusal.SHAPE),
        ({"r": 0}, Refusal.FILES),
        ({"r": True}, Refusal.FILES),
        ({"rank_pattern": [1]}, Refusal.FILES),
        ({"rank_pattern": {str(number): 2 for number in range(4097)}}, Refusal.FILES),
        ({"auto_mapping": {"base_model_class": "PhiForCausalLM"}}, Refusal.ARCHITECTURE),
    ],
)
def test_configurations(tmp_path: Path, llama: Header, change: dict[str, Any], reason: Refusal) -> None:
    assert refusal(tmp_path, config_of("llama") | change, tensors_of("llama"), llama).reason is reason


def put(name: str, values: Any) -> Change:
    return lambda tensors: tensors.update({name: np.asarray(values, np.float32)})


def rename(old: str, new: str) -> Change:
    def change(tensors: Tensors) -> None:
        for name in [name for name in tensors if old in name]:
            tensors[name.replace(old, new)] = tensors.pop(name)

    return change


def spoil(value: float) -> Change:
    return lambda tensors: tensors[f"{Q}.lora_B.weight"].__setitem__((3, 1), value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (put(f"{Q}.lora_magnitude_vector", np.ones(32)), Refusal.DORA),
        (put(f"{Q}.lora_B.bias", np.ones(32)), Refusal.BIAS),
        (put("base_model.model.lm_head.weight", np.ones((64, 32))), Refusal.WHOLE_LAYERS),
        (put("base_model.model.lm_head.base_layer.weight", np.ones((64, 32))), Refusal.WHOLE_LAYERS),
        (put("something", [1]), Refusal.UNKNOWN_TENSOR),
        (put(f"{Q}.lora_B.other.weight", np.ones((32, 2))), Refusal.INCOMPLETE),
        (lambda tensors: tensors.pop(f"{Q}.lora_A.weight"), Refusal.INCOMPLETE),
        (lambda tensors: tensors.clear(), Refusal.INCOMPLETE),
        (rename("self_attn.q_proj", "self_attn.rotary"), Refusal.UNKNOWN_TENSOR),
        (rename("self_attn.q_proj", "self_attn.qkv_proj"), Refusal.ARCHITECTURE),
        (rename("mlp.up_proj", "mlp.fc1"), Refusal.ARCHITECTURE),
        (rename("layers.1", "layers.2"), Refusal.ARCHITECTURE),
        (rename("model.layers.1", "vision_tower.layers.1"), Refusal.UNKNOWN_TENSOR),
        (rename("self_attn.q_proj", "self_attn.k_proj"), Refusal.SHAPE),
        (rename("lm_head.lora_A.weight", "lm_head.lora_embedding_A"), Refusal.INCOMPLETE),
        (rename("model.embed_tokens", "lm_head"), Refusal.EMBEDDINGS),
        (put(f"{Q}.lora_A.weight", np.ones((2, 33))), Refusal.SHAPE),
        (put(f"{Q}.lora_A.weight", np.ones((3, 32))), Refusal.SHAPE),
        (put(f"{Q}.lora_A.weight", np.ones(64)), Refusal.SHAPE),
        (put(f"{Q}.lora_A.weight", np.ones((0, 32))), Refusal.SHAPE),
        (lambda tensors: put(f"{Q}.lora_B.weight", tensors[f"{Q}.lora_B.weight"][:, :1])(tensors), Refusal.SHAPE),
        (spoil(np.nan), Refusal.NOT_FINITE),
        (spoil(-np.inf), Refusal.NOT_FINITE),
        (spoil(3e38), Refusal.NOT_FINITE),
        (lambda t: t.update({f"{Q}.lora_A.weight": np.ones((2, 32), np.int64)}), Refusal.FILES),
        (lambda t: t.update({f"{Q}.lora_A.weight": np.full((2, 32), 1e300)}), Refusal.NOT_FINITE),
    ],
)
def test_tensors(tmp_path: Path, llama: Header, change: Change, reason: Refusal) -> None:
    tensors = tensors_of("llama")
    change(tensors)
    assert refusal(tmp_path, config_of("llama"), tensors, llama).reason is reason


@pytest.mark.parametrize("module", ["lm_head", "model.embed_tokens"])
def test_one_matrix_for_embedding_and_output_cannot_be_adapted(tmp_path: Path, tied: Header, module: str) -> None:
    tensors = {name: values for name, values in tensors_of("llama").items() if module in name}
    assert len(tensors) == 2
    found = refusal(tmp_path, config_of("llama"), tensors, tied)
    assert (found.reason, module in found.detail) == (Refusal.EMBEDDINGS, True)


def test_a_base_of_an_architecture_that_is_not_known(tmp_path: Path, llama: Header) -> None:
    other = Header(dict(llama.metadata) | {"general.architecture": "mamba"}, llama.tensors, llama.token_types, 0)
    found = refusal(tmp_path, config_of("llama"), tensors_of("llama"), other)
    assert found.reason is Refusal.ARCHITECTURE
    assert "phi3" in found.detail


@pytest.mark.parametrize("shape", [(), (1024,), (32, 32, 1)])
def test_a_base_whose_weights_are_no_matrices(tmp_path: Path, llama: Header, shape: tuple[int, ...]) -> None:
    tensors = tuple(
        msgspec.structs.replace(each, shape=shape) if each.name.endswith("attn_q.weight") else each
        for each in llama.tensors
    )
    other = Header(llama.metadata, tensors, llama.token_types, 0)
    found = refusal(tmp_path, config_of("llama"), tensors_of("llama"), other)
    assert found.reason is Refusal.SHAPE
    assert "attn_q.weight is no matrix" in found.detail


@pytest.mark.parametrize("heads", [0, -4, 3, 32, (), (4,), (4, 0), (4, 32)])
def test_a_base_whose_heads_cannot_be(tmp_path: Path, llama: Header, heads: int | tuple[int, ...]) -> None:
    other = Header(dict(llama.metadata) | {"llama.attention.head_count": heads}, llama.tensors, llama.token_types, 0)
    assert refusal(tmp_path, config_of("llama"), tensors_of("llama"), other).reason is Refusal.SHAPE


def test_heads_may_be_told_layer_by_layer(tmp_path: Path, llama: Header) -> None:
    adapter = write_peft(tmp_path / "adapter", config_of("llama"), tensors_of("llama"))
    heads = llama.metadata["llama.attention.head_count"]
    found = []
    for told in (heads, (heads, heads), (16, heads), 1):
        metadata: Any = dict(llama.metadata) | {"llama.attention.head_count": told}
        convert(adapter, Header(metadata, llama.tensors, llama.token_types, 0), bytes(32), tmp_path / "adapter.gguf")
        found.append((tmp_path / "adapter.gguf").read_bytes())
    assert found[0] == found[1] != found[2], "the first layer's rows lie otherwise"
    assert found[3] not in found[:3], "a single head has halves, too"


def test_a_base_that_hides_its_heads(tmp_path: Path, llama: Header) -> None:
    metadata = {key: value for key, value in llama.metadata.items() if "head_count" not in key}
    other = Header(metadata, llama.tensors, llama.token_types, 0)
    assert refusal(tmp_path, config_of("llama"), tensors_of("llama"), other).reason is Refusal.SHAPE


def test_files_that_are_missing_or_broken(tmp_path: Path, llama: Header, monkeypatch: pytest.MonkeyPatch) -> None:
    def reason(folder: Path) -> str:
        with pytest.raises(AdapterRefused) as refused:
            convert(folder, llama, bytes(32), tmp_path / "target.gguf")
        assert refused.value.reason is Refusal.FILES
        return refused.value.detail

    folder = tmp_path / "adapter"
    folder.mkdir()
    assert "adapter_config.json cannot be read" in reason(folder)
    write_peft(folder, config_of("llama"), tensors_of("llama"))
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    assert "save it again as safetensors" in reason(folder)
    assert "other.safetensors cannot be read" in reason(folder / "other.safetensors")
    (folder / "adapter_model.safetensors").write_bytes(b"GGUF")
    assert "adapter_model.safetensors: the file does not begin" in reason(folder)
    text = json.dumps(config_of("llama")).encode()
    monkeypatch.setattr(peft, "MAX_CONFIG_BYTES", len(text))
    (folder / "adapter_config.json").write_bytes(text)
    assert "adapter_model.safetensors: the file" in reason(folder), "the configuration may be as long as that"
    (folder / "adapter_config.json").write_bytes(text + b" ")
    assert "adapter_config.json is larger than" in reason(folder)
    monkeypatch.undo()
    for broken in (b"", b"[1]", b"\xff", b"[" * 10**5, b'{"r": NaN}', b'{"a":' * 10**5):
        (folder / "adapter_config.json").write_bytes(broken)
        assert "adapter_config.json: it is no JSON object" in reason(folder)


def test_numbers_beyond_all_bounds() -> None:
    for change in ({"lora_alpha": 10**5000}, {"r": 10**5000}, {"init_lora_weights": 10**5000}):
        with pytest.raises(AdapterRefused, match="a number beyond all bounds"):
            read_settings(config_of("llama") | change)


def test_a_converted_adapter_takes_no_other_base(tmp_path: Path, llama: Header) -> None:
    convert(GOLDEN / "llama", llama, b"\1" * 32, tmp_path / "adapter.gguf")
    header = read_header(tmp_path / "adapter.gguf")
    check_base(header, b"\1" * 32)
    with pytest.raises(AdapterRefused, match="was converted for the base with SHA-256 0101") as refused:
        check_base(header, b"\2" * 32)
    assert refused.value.reason is Refusal.OTHER_BASE
    unbound = {key: value for key, value in header.metadata.items() if key != BASE_KEY}
    check_base(Header(unbound, header.tensors, header.token_types, header.file_size), b"\2" * 32)


MODULES = [f"model.layers.{n}.{part}" for n in (1, 11) for part in ("self_attn.q_proj", "mlp.up_proj")]
PATTERNS = ["q_proj", "proj", "up_proj$", "mlp.up_proj", r"layers\.1\.self_attn\.q_proj", "layers.1", "1.mlp.up_proj"]
PATTERNS += ["^" + pattern for pattern in (*PATTERNS, *MODULES)] + MODULES


@given(st.lists(st.sampled_from(PATTERNS), unique=True, max_size=5), st.sampled_from(MODULES), st.booleans())
def test_patterns_mean_what_peft_makes_of_them(patterns: list[str], module: str, stabilised: bool) -> None:
    """The first that matches counts, as in `peft.utils.get_pattern_key`."""
    alphas = {pattern: number + 2 for number, pattern in enumerate(patterns)}
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 1, "alpha_pattern": alphas, "use_rslora": stabilised}
    matching = (alpha for pattern, alpha in alphas.items() if re.match(rf"(.*\.)?({pattern})$", module))
    assert read_settings(config).scaling(module, 4) == next(matching, 1) / (2 if stabilised else 4)


@pytest.mark.parametrize("mapping", [None, [], {}, {"base_model_class": ["PhiForCausalLM"]}, {"base_model_class": 7}])
def test_a_class_that_is_no_name_is_none(tmp_path: Path, llama: Header, mapping: object) -> None:
    config = config_of("llama") | {"auto_mapping": mapping}
    assert read_settings(config).base_class is None
    convert(write_peft(tmp_path, config, tensors_of("llama")), llama, bytes(32), tmp_path / "adapter.gguf")


def test_bounds_are_within_what_is_allowed() -> None:
    for alpha in (1e-6, 1e9):
        assert read_settings({"peft_type": "LORA", "r": 1, "lora_alpha": alpha}).alpha == alpha
    patterns = {f"layers.{number}": 65_536 for number in range(4096)}
    settings = read_settings({"peft_type": "LORA", "r": 1, "lora_alpha": 1, "rank_pattern": patterns})
    assert settings.ranks == {1, 65_536}
    with pytest.raises(AdapterRefused, match="no rank from 1 to 65536: 65537"):
        read_settings({"peft_type": "LORA", "r": 65_537, "lora_alpha": 1})


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*config_of("llama"), "use_x"]), ANYTHING, max_size=4))
def test_any_configuration_is_read_or_refused(change: dict[str, Any]) -> None:
    try:
        settings = read_settings(config_of("llama") | change)
    except AdapterRefused:
        return
    assert settings.scaling("model.layers.0.self_attn.q_proj", 2) > 0
