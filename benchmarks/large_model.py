"""Models of random weights in Q8_0, made on the spot: as much work as real ones of their size, nothing to fetch.

The large one has 174 M weights and 32,000 tokens, of which only the bytes and a few merges are ever made from text, so
that a text has about as many tokens as bytes. It takes ten seconds and 200 MB of the system's temporary folder, once.
"""

import ctypes
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from tests.eval.tiny_models import Shape, byte_alphabet, described_llama, gguf_bytes

CONTEXT, HEAD = 4096, 64
SPREAD = 0.02  # of the weights, as models are initialised: attention and logits stay in a usual range
_F16, _Q8_0 = 1, 7
_TYPES = {"F32": 0, "F16": _F16, "BF16": 32, "Q4_0": 2, "Q4_1": 3, "Q8_0": _Q8_0, "Q4_K_M": 15}


class Size(Struct, frozen=True):
    """Of a model: values a token (a multiple of 64, a head's), layers, values within a layer, and words."""

    embedding: int
    layers: int
    feed_forward: int
    words: int


LARGE = Size(896, 12, 2432, 32_000)


def large_model() -> Path:
    """The file of the large one, made first where it is missing."""
    return random_model(LARGE)


def random_model(size: Size) -> Path:
    """The file of a model of this size, made first where it is missing."""
    path = Path(tempfile.gettempdir()) / f"peerboard-random-{size.embedding}x{size.layers}-2.gguf"
    if not path.is_file():
        full = path.with_name(path.name + ".f16")
        full.write_bytes(gguf_bytes(_metadata(size), dict(_tensors(size))))
        partial = path.with_name(path.name + ".partial")
        quantise(full, partial)
        full.unlink()
        partial.replace(path)
    return path


def quantised(kind: str) -> Path:
    """The same weights in F16 or Q4_0, made from those in Q8_0 where the file is missing."""
    path = large_model().with_suffix(f".{kind}.gguf")
    return path if path.is_file() else with_weights(large_model(), kind, path)


def with_weights(source: Path, kind: str, target: Path) -> Path:
    """Writes the model in `source` with weights of another type to `target`."""
    partial = target.with_name(target.name + ".partial")
    quantise(source, partial, _TYPES[kind])
    return partial.replace(target)


def _metadata(size: Size) -> dict[str, Any]:
    tokens = ["<unk>", "<s>", "</s>", *byte_alphabet(), "Ġt", "he"]
    tokens += [f"<word{number}>" for number in range(len(tokens), size.words)]
    types = [2, 3, 3, *[1] * (size.words - 3)]
    shape = Shape(size.embedding, size.layers, size.embedding // HEAD, size.feed_forward)
    return described_llama(shape, CONTEXT, tokens, types, ["Ġ t", "h e"])


def _tensors(size: Size) -> Iterator[tuple[str, NDArray[Any]]]:
    draws = np.random.default_rng(0)

    def matrix(inputs: int, outputs: int) -> NDArray[Any]:
        found = draws.standard_normal((outputs, inputs), np.float32)
        found *= SPREAD
        return found.astype(np.float16)

    ones = np.ones(size.embedding, np.float32)
    yield "token_embd.weight", matrix(size.embedding, size.words)
    yield "output_norm.weight", ones
    yield "output.weight", matrix(size.embedding, size.words)
    for layer in range(size.layers):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            yield f"blk.{layer}.{name}.weight", matrix(size.embedding, size.embedding)
        for name in ("ffn_gate", "ffn_up"):
            yield f"blk.{layer}.{name}.weight", matrix(size.embedding, size.feed_forward)
        yield f"blk.{layer}.ffn_down.weight", matrix(size.feed_forward, size.embedding)
        for name in ("attn_norm", "ffn_norm"):
            yield f"blk.{layer}.{name}.weight", ones


def quantise(source: Path, target: Path, kind: int = _Q8_0, *, pure: bool = False) -> None:
    """Writes the file's weights in another type: by default Q8_0. `pure`: all matrices, none in a finer one."""
    from eval.binding import C, last_words

    parameters = C.llama_model_quantize_default_params()
    parameters.ftype = kind
    parameters.allow_requantize = True
    parameters.pure = pure
    code = C.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(parameters))
    if code:
        raise SystemExit(f"{source.name} could not be given other weights: {last_words()}")


if __name__ == "__main__":
    print(large_model())
