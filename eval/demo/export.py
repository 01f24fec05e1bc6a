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
TWO_BITS = "two bits"
_LEVELS = np.array([-3, -1, 1, 3], dtype=np.float32)  # what two bits can say of a weight, times its block's scale
_BLOCK = 32
_ZERO = 8  # a Q4_0 nibble of 8 is zero
_SCALES_TRIED = np.linspace(0.3, 1.0, 29, dtype=np.float32)

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
    """A model file whose matrices are stored as `kind` and whose norms stay 32-bit floats.

    `kind` is F16, Q8_0, Q4_0 or `TWO_BITS`: the two-bit types of llama.cpp need rows of 256 weights, so these four
    levels travel in the blocks of Q4_0.
    """
    file_type, stored = _TYPES[_COARSE if kind == TWO_BITS else kind]
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
        if kind == TWO_BITS and values.ndim > 1 and not _is_embedding(tensor):
            writer.add_tensor(tensor, two_bits(values), raw_dtype=stored)
        else:
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


def half(weights: Weights) -> dict[str, np.ndarray]:
    """The weights as an F16 file holds them: quantised copies are made of that, as people do."""
    return {
        name: values.astype(np.float16).astype(np.float32) if values.ndim > 1 else values
        for name, values in weights.items()
    }


def two_bits(values: np.ndarray) -> np.ndarray:
    """A matrix (rows x a multiple of 32) as Q4_0 blocks (rows x bytes) that use four of their sixteen levels.

    Each block of 32 takes, of a few scales, the one with the least squared error.
    """
    blocks = values.reshape(-1, _BLOCK).astype(np.float32)
    largest = np.abs(blocks).max(1, keepdims=True) / _LEVELS.max()
    best, error = np.zeros_like(largest), np.full_like(largest, np.inf)
    for share in _SCALES_TRIED:
        scale = (largest * share).astype(np.float16).astype(np.float32)
        squares = ((_LEVELS[_nearest(blocks, scale)] * scale - blocks) ** 2).sum(1, keepdims=True)
        best = np.where(squares < error, scale, best)
        error = np.minimum(squares, error)
    nibbles = (_LEVELS[_nearest(blocks, best)] + _ZERO).astype(np.uint8)
    packed = nibbles[:, : _BLOCK // 2] | (nibbles[:, _BLOCK // 2 :] << 4)
    return np.concatenate([best.astype(np.float16).view(np.uint8), packed], 1).reshape(len(values), -1)


def _nearest(blocks: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The index of the level that is nearest to each weight; a block of zeros has scale 0."""
    scaled = np.divide(blocks, scale, out=np.zeros_like(blocks), where=scale > 0)
    nearest: np.ndarray = np.abs(scaled[..., None] - _LEVELS).argmin(-1)
    return nearest


def _is_embedding(tensor: str) -> bool:
    return tensor.startswith("token_embd")


def _embedding_type(tensor: str, kind: str) -> gguf.GGMLQuantizationType | None:
    """The embedding is the output matrix too and suffers most: coarse files keep it in eight bits."""
    coarse = kind in {_COARSE, TWO_BITS}
    return gguf.GGMLQuantizationType.Q8_0 if coarse and _is_embedding(tensor) else None


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
