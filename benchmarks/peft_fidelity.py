"""Largest difference of logits between llama.cpp with a converted adapter and transformers + PEFT, by architecture.

    python benchmarks/peft_fidelity.py [--torch PYTHON] [--record FOLDER] [CASE ...]

`--torch` is an interpreter with torch, transformers, peft, safetensors and gguf, none of which the project needs; this
one by default. There a random tiny model of each architecture and a random adapter are made, saved by PEFT, and asked
for the logits of every position; here the adapter is converted and applied by llama.cpp to the same weights (F32, and
F32 keys and values). `effect` is the largest change that the adapter makes: a difference means little without one.
`--record` keeps the adapters, the shapes of the bases and the logits for the test suite, which has no torch.
"""

import argparse
import ctypes
import hashlib
import importlib.util
import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

NEEDED = ("torch", "transformers", "peft", "safetensors", "gguf")
VOCABULARY, EMBEDDING, LAYERS, HEADS, FEED_FORWARD, CONTEXT = 64, 32, 2, 4, 48, 64
TOKENS = [1 + 7 * place % (VOCABULARY - 1) for place in range(12)]
WINDOW = 32
LIMIT = 1e-2
QUIET = os.environ | {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_OFFLINE": "1"}
Array = NDArray[Any]

CASES: dict[str, dict[str, Any]] = {
    "llama": {
        "class": "Llama",
        "architecture": "llama",
        "modules": ["q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "embed_tokens", "lm_head"],
        "kind": "float32",
    },
    "mistral": {"class": "Mistral", "architecture": "llama", "kind": "bfloat16", "lora": {"use_rslora": True}},
    "qwen2": {
        "class": "Qwen2",
        "architecture": "qwen2",
        "config": {"tie_word_embeddings": True},
        "lora": {
            "rank_pattern": {"v_proj": 3},
            "alpha_pattern": {"layers.1.mlp.up_proj": 7, "^model.layers.0.mlp.down_proj": 1},
        },
    },
    "qwen3": {
        "class": "Qwen3",
        "architecture": "qwen3",
        "config": {"head_dim": 16},
        "lora": {"use_rslora": True, "rank_pattern": {"self_attn.q_proj": 4}},
    },
    "gemma": {"class": "Gemma", "architecture": "gemma", "config": {"head_dim": 16}},
    "gemma2": {
        "class": "Gemma2",
        "architecture": "gemma2",
        "kind": "bfloat16",
        "config": {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": WINDOW},
    },
    "gemma3": {
        "class": "Gemma3",
        "architecture": "gemma3",
        "config": {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": WINDOW},
    },
    "phi2": {
        "class": "Phi",
        "architecture": "phi2",
        "modules": ["q_proj", "k_proj", "v_proj", "dense", "fc1", "fc2", "lm_head"],
        "config": {"partial_rotary_factor": 0.5, "intermediate_size": 4 * EMBEDDING},
    },
    "phi3": {"class": "Phi3", "architecture": "phi3", "config": {"pad_token_id": 0}, "lora": {"lora_alpha": 5}},
}


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    arguments.add_argument("--torch", default=sys.executable, metavar="PYTHON")
    arguments.add_argument("--record", type=Path, metavar="FOLDER")
    arguments.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    chosen = arguments.parse_args()
    if chosen.make:
        make(chosen.cases[0], chosen.make)
        return
    missing = [name for name in NEEDED if chosen.torch == sys.executable and importlib.util.find_spec(name) is None]
    if missing:
        print(f"not measured: {', '.join(missing)} missing here; name an interpreter that has them with --torch")
        return
    print("case      architecture  positions largest logit  effect     base difference")
    worst = 0.0
    for case in chosen.cases or CASES:
        with tempfile.TemporaryDirectory() as folder:
            place = (chosen.record or Path(folder)) / case
            place.mkdir(parents=True, exist_ok=True)
            subprocess.run([chosen.torch, "-W", "ignore", __file__, case, "--make", str(place)], check=True, env=QUIET)
            worst = max(worst, _compare(case, place, Path(folder)))
    if not worst <= LIMIT:
        sys.exit(f"the largest difference is {worst:g}, more than {LIMIT:g}")


def _compare(case: str, place: Path, scratch: Path) -> float:
    from eval.header import read_header
    from eval.peft import convert

    base, target = place / "base.gguf", scratch / "adapter.gguf"
    convert(place, read_header(base), hashlib.sha256(base.read_bytes()).digest(), target)
    expected = np.load(place / "logits.npy")
    plain, adapted = llama_logits(base, []), llama_logits(base, [(target, 1.0)])
    unadapted = float(np.abs(plain - np.load(place / "plain.npy")).max())
    difference = float(np.abs(adapted - expected).max())
    effect = float(np.abs(adapted - plain).max())
    highest = float(np.abs(expected).max())
    architecture = CASES[case]["architecture"]
    print(
        f"{case:<9} {architecture:<13} {len(expected):>9} {highest:>13.2f} {effect:>7.2f} {unadapted:>8.1e} "
        f"{difference:>10.1e}"
    )
    base.unlink()
    (place / "plain.npy").unlink()
    return difference


def llama_logits(base: Path, adapters: list[tuple[Path, float]]) -> Array:
    """Float32 logits (positions, vocabulary) of `TOKENS`, keys and values in F32, without flash attention."""
    from eval.binding import C, last_words
    from eval.model import LoadedModel

    with LoadedModel(base) as model:
        parameters = C.llama_context_default_params()
        parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = CONTEXT
        parameters.type_k = parameters.type_v = C.GGML_TYPE_F32
        parameters.flash_attn_type = C.LLAMA_FLASH_ATTN_TYPE_DISABLED
        parameters.n_threads = parameters.n_threads_batch = 1
        context = C.llama_init_from_model(model.handle, parameters)
        batch = C.llama_batch_init(len(TOKENS), 0, 1)
        try:
            handles = [model.adapter(path, hashlib.sha256(path.read_bytes()).digest()) for path, _ in adapters]
            pointers = (C.llama_adapter_lora_p_ctypes * len(handles))(*handles)
            scales = (ctypes.c_float * len(handles))(*[scale for _, scale in adapters])
            if C.llama_set_adapters_lora(context, pointers, len(handles), scales) != 0:
                raise RuntimeError(last_words())
            for place, token in enumerate(TOKENS):
                batch.token[place], batch.pos[place], batch.logits[place] = token, place, 1
                batch.n_seq_id[place], batch.seq_id[place][0] = 1, 0
            batch.n_tokens = len(TOKENS)
            if C.llama_decode(context, batch) != 0:
                raise RuntimeError(last_words())
            found: Array = np.ctypeslib.as_array(C.llama_get_logits(context), (len(TOKENS), VOCABULARY)).copy()
            return found
        finally:
            C.llama_batch_free(batch)
            C.llama_free(context)


def drawn(name: str, shape: tuple[int, ...]) -> Array:
    """Float32 weights of the base's tensor `name`, the same on every machine: from the hash of the name."""
    count = math.prod(shape)
    raw = np.frombuffer(hashlib.shake_256(name.encode()).digest(2 * count), "<i2")
    uniform = (raw.astype(np.float32) / np.float32(32768)).reshape(shape)
    if name.endswith("norm.weight"):
        return np.float32(1) + uniform / 4
    if name.endswith(".bias"):
        return uniform / 4
    return uniform * np.float32(3 / math.sqrt(shape[-1]) if name != "token_embd.weight" else 1)


def make(case: str, folder: Path) -> None:
    """With torch: the base as GGUF, its description, the adapter as PEFT saves it, and the logits."""
    import gguf
    import torch

    described = CASES[case]
    architecture = described["architecture"]
    model, config = _model(described)
    names = gguf.get_tensor_name_map({v: k for k, v in gguf.MODEL_ARCH_NAMES.items()}[architecture], LAYERS)
    shapes: dict[str, list[int]] = {}
    writer = gguf.GGUFWriter(folder / "base.gguf", architecture)
    metadata = _metadata(architecture, config)
    for key, value in metadata.items():
        add = {str: writer.add_string, int: writer.add_uint32, float: writer.add_float32}[type(value)]
        add(key, value)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            target = names.get_name(name, try_suffixes=(".weight", ".bias"))
            shapes[target] = list(parameter.shape)
            values = drawn(target, tuple(parameter.shape))
            writer.add_tensor(target, values)
            parameter.copy_(torch.from_numpy(_as_transformers(architecture, target, values, config)))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    (folder / "base.json").write_text(json.dumps({"metadata": metadata, "shapes": shapes}) + "\n", encoding="utf-8")
    with torch.no_grad():
        np.save(folder / "plain.npy", model(torch.tensor([TOKENS])).logits[0].numpy())
    np.save(folder / "logits.npy", _adapted_logits(model, described, folder))


def _model(described: dict[str, Any]) -> tuple[Any, Any]:
    import transformers  # type: ignore[import-not-found, unused-ignore]

    name = described["class"] + ("TextConfig" if described["class"] == "Gemma3" else "Config")
    settings = {
        "vocab_size": VOCABULARY,
        "hidden_size": EMBEDDING,
        "intermediate_size": FEED_FORWARD,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS if described["class"] == "Phi" else HEADS // 2,
        "max_position_embeddings": CONTEXT,
        "attn_implementation": "eager",
    }
    config = getattr(transformers, name)(**(settings | described.get("config", {})))
    model = getattr(transformers, described["class"] + "ForCausalLM")(config)
    return model.float().eval(), config


def _metadata(architecture: str, config: Any) -> dict[str, Any]:
    head = getattr(config, "head_dim", None) or EMBEDDING // HEADS
    rotary = config.rope_parameters
    rotary = rotary.get("full_attention", rotary)
    found: dict[str, Any] = {
        "tokenizer.ggml.model": "none",
        f"{architecture}.vocab_size": VOCABULARY,
        f"{architecture}.context_length": CONTEXT,
        f"{architecture}.embedding_length": EMBEDDING,
        f"{architecture}.block_count": LAYERS,
        f"{architecture}.feed_forward_length": config.intermediate_size,
        f"{architecture}.attention.head_count": HEADS,
        f"{architecture}.attention.head_count_kv": config.num_key_value_heads,
        f"{architecture}.attention.key_length": head,
        f"{architecture}.attention.value_length": head,
        f"{architecture}.rope.dimension_count": int(head * rotary.get("partial_rotary_factor", 1.0)),
        f"{architecture}.rope.freq_base": float(rotary["rope_theta"]),
    }
    if architecture == "phi2":
        found["phi2.attention.layer_norm_epsilon"] = config.layer_norm_eps
    else:
        found[f"{architecture}.attention.layer_norm_rms_epsilon"] = config.rms_norm_eps
    if architecture in ("gemma2", "gemma3"):
        found[f"{architecture}.attention.sliding_window"] = WINDOW
    if architecture == "gemma2":
        found["gemma2.attn_logit_softcapping"] = config.attn_logit_softcapping
        found["gemma2.final_logit_softcapping"] = config.final_logit_softcapping
    return found


def _as_transformers(architecture: str, name: str, values: Array, config: Any) -> Array:
    """What `transformers` keeps for a tensor of the GGUF file."""
    if architecture.startswith("gemma") and name.endswith("norm.weight"):
        return values - 1
    if architecture == "llama" and ("attn_q" in name or "attn_k" in name):
        heads = HEADS if "attn_q" in name else config.num_key_value_heads
        turned = values.reshape(heads, -1, 2, values.shape[1]).swapaxes(1, 2)
        return np.ascontiguousarray(turned.reshape(values.shape))
    return values


def _adapted_logits(model: Any, described: dict[str, Any], folder: Path) -> Array:
    import peft  # type: ignore[import-not-found, unused-ignore]
    import torch
    from safetensors.torch import load_file, save_file  # type: ignore[import-not-found, unused-ignore]

    kind = getattr(torch, described.get("kind", "float16"))
    modules = described.get("modules", "all-linear")
    settings = {"r": 2, "lora_alpha": 3, "target_modules": modules, "task_type": "CAUSAL_LM"}
    adapted = peft.get_peft_model(model, peft.LoraConfig(**(settings | described.get("lora", {})))).eval()
    torch.manual_seed(len(described["class"]))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:  # values that the saved type holds exactly
                parameter.copy_((torch.randn(parameter.shape) * 0.25).to(kind).float())
    adapted.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)
    weights = folder / "adapter_model.safetensors"
    saved = {name: value.to(kind).contiguous() for name, value in load_file(weights).items()}
    save_file(saved, weights, metadata={"format": "pt"})
    with torch.no_grad():
        logits: Array = adapted(torch.tensor([TOKENS])).logits[0].numpy()
    return logits


if __name__ == "__main__":
    main()
