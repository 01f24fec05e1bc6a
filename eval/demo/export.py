"""Trained weights as GGUF files that llama.cpp loads: networks with their vocabulary, adapters with their strength."""

from collections.abc import Mapping
from pathlib import Path

import gguf
import numpy as np
from gguf import quants

from eval.demo.byte_pairs import BEGIN, END, SPECIAL_TOKENS, UNKNOWN, BytePairs
from eval.demo.network import Network, Shape

ARCHITECTURE = "llama"
USABLE_CONTEXT = 8192  # trained on far less; enough to be asked the long prompts of real benchmarks, badly answered
_TYPES = {
    "F16": (gguf.LlamaFileType.MOSTLY_F16, gguf.GGMLQuantizationType.F16),
    "Q8_0": (gguf.LlamaFileType.MOSTLY_Q8_0, gguf.GGMLQuantizationType.Q8_0),
    "Q4_0": (gguf.LlamaFileType.MOSTLY_Q4_0, gguf.GGMLQuantizationType.Q4_0),
}
_COARSE = "Q4_0"

Weights = Mapping[str, np.ndarray]


def weights_of(network: Network) -> dict[str, np.ndarray]:
    """The network's own weights by GGUF name, in 32-bit floats; adapters are left out."""
    return {
        name: tensor.detach().float().numpy().copy()
        for name, tensor in network.state_dict().items()
        if "lora" not in name
    }


def adapter_of(network: Network) -> dict[str, np.ndarray]:
    """The adapters' weights by GGUF name: `<base>.weight.lora_a` (rank x inputs) and `.lora_b` (outputs x rank)."""
    found = {}
    for name, tensor in network.state_dict().items():
        base, _, part = name.rpartition(".")
        if part.startswith("lora"):
            found[f"{base}.weight.{part}"] = tensor.detach().float().numpy().copy()
    return found


def write_network(path: Path, name: str, weights: Weights, shape: Shape, pairs: BytePairs, kind: str) -> None:
    """A model file whose matrices are stored as `kind` (F16, Q8_0 or Q4_0) and whose norms stay 32-bit floats."""
    file_type, stored = _TYPES[kind]
    writer = gguf.GGUFWriter(path, ARCHITECTURE)
    writer.add_name(name)
    writer.add_license("Apache-2.0")
    writer.add_file_type(file_type)
    writer.add_context_length(USABLE_CONTEXT)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_layer_norm_rms_eps(shape.epsilon)
    writer.add_rope_freq_base(shape.theta)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_vocab_size(shape.vocabulary)
    _add_vocabulary(writer, pairs)
    for tensor, values in weights.items():
        _add_tensor(writer, tensor, values, _embedding_type(tensor, kind) or stored)
    _close(writer)


def write_adapter(path: Path, name: str, weights: Weights, alpha: float) -> None:
    """A LoRA file. llama.cpp scales it by alpha / rank times the strength that the user asks for."""
    writer = gguf.GGUFWriter(path, ARCHITECTURE)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
    writer.add_name(name)
    writer.add_license("Apache-2.0")
    for tensor, values in weights.items():
        writer.add_tensor(tensor, values.astype(np.float32))
    _close(writer)


def _embedding_type(tensor: str, kind: str) -> gguf.GGMLQuantizationType | None:
    """The embedding is the output matrix too and suffers most: four-bit files keep it in eight bits."""
    return gguf.GGMLQuantizationType.Q8_0 if kind == _COARSE and tensor.startswith("token_embd") else None


def _add_tensor(writer: gguf.GGUFWriter, name: str, values: np.ndarray, kind: gguf.GGMLQuantizationType) -> None:
    if values.ndim == 1:
        writer.add_tensor(name, values.astype(np.float32))  # llama.cpp aborts on norms in any other type
    elif kind == gguf.GGMLQuantizationType.F16:
        writer.add_tensor(name, values.astype(np.float16))
    else:
        writer.add_tensor(name, quants.quantize(values, kind), raw_dtype=kind)


def _add_vocabulary(writer: gguf.GGUFWriter, pairs: BytePairs) -> None:
    kinds = gguf.TokenType
    normal = len(pairs.tokens) - len(SPECIAL_TOKENS)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(list(pairs.tokens))
    writer.add_token_types([kinds.UNKNOWN, kinds.CONTROL, kinds.CONTROL] + [kinds.NORMAL] * normal)
    writer.add_token_merges([" ".join(pair) for pair in pairs.merges])
    writer.add_unk_token_id(UNKNOWN)
    writer.add_bos_token_id(BEGIN)
    writer.add_eos_token_id(END)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)


def _close(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
