"""Which tensor of a GGUF file a layer of a `transformers` model is, for the architectures whose adapters are converted.

Names on the left are those of `transformers`' modules, on the right those of llama.cpp (`llama-arch.cpp`). Mistral's
models are stored as `llama`. phi3 keeps queries, keys and values in one matrix, and gate and up in another, on both
sides in the same order.
"""

import re
from collections.abc import Mapping

from msgspec import Struct

EMBEDDING, OUTPUT = "token_embd.weight", "output.weight"

_USUAL = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_PHI2 = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.dense": "attn_output",
    "mlp.fc1": "ffn_up",
    "mlp.fc2": "ffn_down",
}
_PHI3 = {
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
LAYERS: Mapping[str, Mapping[str, str]] = {
    "llama": _USUAL,
    "qwen2": _USUAL,
    "qwen3": _USUAL,
    "gemma": _USUAL,
    "gemma2": _USUAL,
    "gemma3": _USUAL,
    "phi2": _PHI2,
    "phi3": _PHI3,
}
"""By `general.architecture`: what stands behind `layers.N.` on either side."""

CLASSES: Mapping[str, str] = {
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "llama",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
    "GemmaForCausalLM": "gemma",
    "Gemma2ForCausalLM": "gemma2",
    "Gemma3ForCausalLM": "gemma3",
    "Gemma3ForConditionalGeneration": "gemma3",
    "PhiForCausalLM": "phi2",
    "Phi3ForCausalLM": "phi3",
}
"""The architecture of a class of `transformers`, where an adapter tells its base's."""

_LAYER = re.compile(
    r"(?:model\.language_model\.|language_model\.model\.|model\.)?layers\.(0|[1-9]\d{0,4})\.(.+)", re.ASCII
)
_ENDS = {
    **dict.fromkeys(
        ("model.embed_tokens", "model.language_model.embed_tokens", "language_model.model.embed_tokens"), EMBEDDING
    ),
    **dict.fromkeys(("lm_head", "language_model.lm_head"), OUTPUT),
}


class Place(Struct, frozen=True):
    """A tensor of the base, and its layer's number; -1 for the embedding and the output."""

    tensor: str
    layer: int


def place(architecture: str, module: str) -> Place | None:
    """Where the module's weights are in a GGUF file of the architecture, or None where it has no such module."""
    if module in _ENDS:
        return Place(_ENDS[module], -1)
    found = _LAYER.fullmatch(module)
    name = LAYERS.get(architecture, {}).get(found[2]) if found else None
    return Place(f"blk.{found[1]}.{name}.weight", int(found[1])) if found and name else None


def architectures_with(module: str) -> list[str]:
    """The architectures that have such a module."""
    return [architecture for architecture in LAYERS if place(architecture, module)]
