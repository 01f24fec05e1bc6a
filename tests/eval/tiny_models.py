"""GGUF files made on the spot: a tiny random llama, adapters for it, a tiny Mamba, files that are wrong on purpose."""

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
EMBEDDING, LAYERS, HEADS, FEED_FORWARD = 64, 2, 4, 96
MERGES = ("Ġ t", "h e", "Ġt he", "i n", "e r", "Ġ a", "o n")
TYPES = {np.dtype(np.float32): 0, np.dtype(np.float16): 1}


class Typed:
    """A metadata value of an explicit GGUF type, where Python's own type does not tell."""

    def __init__(self, kind: int, value: Any) -> None:
        self.kind, self.value = kind, value


def byte_alphabet() -> list[str]:
    """GPT-2's printable stand-in for every byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = (byte for byte in range(256) if byte not in printable)
    stand_in = {byte: chr(256 + number) for number, byte in enumerate(others)}
    return [stand_in.get(byte, chr(byte)) for byte in range(256)]


def vocabulary() -> tuple[list[str], list[int]]:
    """Tokens and their types: unknown, two control tokens, all bytes, a few merges, two unused."""
    merged = ["".join(merge.split()) for merge in MERGES]
    tokens = ["<unk>", "<s>", "</s>", *byte_alphabet(), *merged, "<pad0>", "<pad1>"]
    return tokens, [2, 3, 3, *[1] * (256 + len(merged)), 5, 5]


class Shape(NamedTuple):
    """The sizes of a llama."""

    embedding: int
    layers: int
    heads: int
    feed_forward: int


SHAPE = Shape(EMBEDDING, LAYERS, HEADS, FEED_FORWARD)


def llama_metadata(context_length: int = 2048, shape: Shape = SHAPE) -> dict[str, Any]:
    tokens, types = vocabulary()
    return described_llama(shape, context_length, tokens, types, MERGES)


def described_llama(
    shape: Shape, context_length: int, tokens: Sequence[str], types: Sequence[int], merges: Sequence[str]
) -> dict[str, Any]:
    """A llama's metadata; the first three tokens are the unknown one, the start and the end."""
    return {
        "general.architecture": "llama",
        "general.file_type": 1,
        "llama.context_length": context_length,
        "llama.embedding_length": shape.embedding,
        "llama.block_count": shape.layers,
        "llama.feed_forward_length": shape.feed_forward,
        "llama.attention.head_count": shape.heads,
        "llama.attention.head_count_kv": shape.heads,
        "llama.rope.dimension_count": shape.embedding // shape.heads,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": list(tokens),
        "tokenizer.ggml.token_type": Typed(5, list(types)),
        "tokenizer.ggml.merges": list(merges),
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.add_bos_token": True,
    }


def llama_tensors(seed: int = 0, sharpness: float = 3.0, shape: Shape = SHAPE) -> dict[str, Array]:
    """Random weights; a larger `sharpness` makes the most likely token stand out more."""
    embedding, layers, _, feed_forward = shape
    draws = np.random.default_rng(seed)
    words = len(vocabulary()[0])

    def matrix(inputs: int, outputs: int, scale: float = 1.0) -> Array:
        found: Array = (draws.standard_normal((outputs, inputs)) * scale / np.sqrt(inputs)).astype(np.float16)
        return found

    tensors: dict[str, Array] = {
        "token_embd.weight": draws.standard_normal((words, embedding)).astype(np.float16),
        "output_norm.weight": np.ones(embedding, np.float32),
        "output.weight": matrix(embedding, words, sharpness),
    }
    for layer in range(layers):
        shapes = {
            "attn_q": (embedding, embedding),
            "attn_k": (embedding, embedding),
            "attn_v": (embedding, embedding),
            "attn_output": (embedding, embedding),
            "ffn_gate": (embedding, feed_forward),
            "ffn_up": (embedding, feed_forward),
            "ffn_down": (feed_forward, embedding),
        }
        for name, (inputs, outputs) in shapes.items():
            tensors[f"blk.{layer}.{name}.weight"] = matrix(inputs, outputs)
        for name in ("attn_norm", "ffn_norm"):
            tensors[f"blk.{layer}.{name}.weight"] = np.ones(embedding, np.float32)
    return tensors


def write_llama(
    path: Path, seed: int = 0, *, context_length: int = 2048, sharpness: float = 3.0, shape: Shape = SHAPE
) -> Path:
    """A random model in F16, of about 0.1 M weights unless `shape` says otherwise."""
    path.write_bytes(gguf_bytes(llama_metadata(context_length, shape), llama_tensors(seed, sharpness, shape)))
    return path


def write_mamba(path: Path, seed: int = 0) -> Path:
    """A random model without attention: two layers that keep one state of each sequence. In F32."""
    inner, states, rank, kernel = 2 * EMBEDDING, 16, 4, 4
    draws = np.random.default_rng(seed)

    def matrix(*shape: int) -> Array:
        found: Array = (draws.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)
        return found

    tensors: dict[str, Array] = {
        "token_embd.weight": EMBEDDING * matrix(len(vocabulary()[0]), EMBEDDING),
        "output_norm.weight": np.ones(EMBEDDING, np.float32),
        "output.weight": 3 * matrix(len(vocabulary()[0]), EMBEDDING),
    }
    for layer in range(LAYERS):
        tensors |= {
            f"blk.{layer}.{name}": values
            for name, values in {
                "attn_norm.weight": np.ones(EMBEDDING, np.float32),
                "ssm_in.weight": matrix(2 * inner, EMBEDDING),
                "ssm_conv1d.weight": matrix(inner, kernel),
                "ssm_conv1d.bias": np.zeros(inner, np.float32),
                "ssm_x.weight": matrix(rank + 2 * states, inner),
                "ssm_dt.weight": matrix(inner, rank),
                "ssm_dt.bias": np.zeros(inner, np.float32),
                "ssm_a": -np.ones((inner, states), np.float32),
                "ssm_d": np.ones(inner, np.float32),
                "ssm_out.weight": matrix(EMBEDDING, inner),
            }.items()
        }
    metadata = {key: value for key, value in llama_metadata().items() if not key.startswith("llama.")}
    sizes = {"conv_kernel": kernel, "inner_size": inner, "state_size": states, "time_step_rank": rank}
    metadata |= {f"mamba.ssm.{name}": size for name, size in sizes.items()} | {
        "general.architecture": "mamba",
        "mamba.context_length": 2048,
        "mamba.embedding_length": EMBEDDING,
        "mamba.block_count": LAYERS,
        "mamba.feed_forward_length": 0,
        "mamba.attention.head_count": 0,
        "mamba.attention.layer_norm_rms_epsilon": 1e-5,
    }
    path.write_bytes(gguf_bytes(metadata, tensors))
    return path


def write_adapter(path: Path, seed: int = 1, *, rank: int = 4, inputs: int = EMBEDDING) -> Path:
    """A random LoRA adapter on the queries and values of every layer, strong enough to change answers."""
    draws = np.random.default_rng(seed)
    tensors: dict[str, Array] = {}
    for layer in range(LAYERS):
        for name in ("attn_q", "attn_v"):
            place = f"blk.{layer}.{name}.weight"
            tensors[place + ".lora_a"] = draws.standard_normal((rank, inputs)).astype(np.float32) / 4
            tensors[place + ".lora_b"] = draws.standard_normal((EMBEDDING, rank)).astype(np.float32) / 4
    metadata = {
        "general.architecture": "llama",
        "general.type": "adapter",
        "adapter.type": "lora",
        "adapter.lora.alpha": float(rank),
    }
    path.write_bytes(gguf_bytes(metadata, tensors))
    return path


def gguf_bytes(metadata: Mapping[str, Any], tensors: Mapping[str, Array], alignment: int = 32) -> bytes:
    """A GGUF file, version 3. Arrays have their slowest dimension first, as numpy has them."""
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(metadata))
    head += b"".join(_text(key) + _value(value) for key, value in metadata.items())
    body: list[bytes] = []
    offset = 0
    for name, array in tensors.items():
        shape = array.shape[::-1]
        head += _text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        head += struct.pack("<IQ", TYPES[array.dtype], offset)
        body += [array.tobytes(), bytes(-array.nbytes % alignment)]
        offset += array.nbytes + -array.nbytes % alignment
    return b"".join([head, bytes(-len(head) % alignment), *body])


def _text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def _value(value: Any) -> bytes:
    if isinstance(value, Typed) and isinstance(value.value, list):
        return struct.pack(f"<IIQ{len(value.value)}i", 9, value.kind, len(value.value), *value.value)
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + _text(value)
    return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(_text, value))
