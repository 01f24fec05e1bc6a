"""`adapter_config.json`: how strongly each layer of a LoRA adapter counts, and what makes an adapter more than LoRA.

Meanings as in PEFT (https://huggingface.co/docs/peft/package_reference/lora): a layer's output gains
`alpha / rank` times `B A x`, or `alpha / sqrt(rank)` times with rank-stabilised LoRA (arXiv:2312.03732), where patterns
give single layers a rank and an alpha of their own. The ranks are the tensors' own shapes; patterns of them are only
held against those.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from eval.peft_refusals import AdapterRefused, Refusal

MAX_PATTERNS = 4096
MAX_RANK = 1 << 16

_PLAIN_PATTERN = re.compile(r"\^?[\w.]{1,256}\$?", re.ASCII)
_SAME_BASE = ("gaussian", "orthogonal", "eva")  # ways to begin that leave the base's weights as they are
_REFUSED = (
    ("use_dora", Refusal.DORA, "it is a DoRA adapter, whose magnitudes llama.cpp cannot apply"),
    ("lora_bias", Refusal.BIAS, "it trains biases, which llama.cpp cannot add"),
    (
        "modules_to_save",
        Refusal.WHOLE_LAYERS,
        "it replaces whole layers (modules_to_save), which LoRA files cannot hold",
    ),
    (
        "trainable_token_indices",
        Refusal.EMBEDDINGS,
        "it trains single tokens' embeddings, which llama.cpp cannot apply",
    ),
    ("layer_replication", Refusal.SETTING, "it repeats layers of its base, which llama.cpp cannot do"),
    ("alora_invocation_tokens", Refusal.SETTING, "it is active only after certain tokens (aLoRA)"),
    ("target_parameters", Refusal.SETTING, "it adapts parameters of experts, which llama.cpp cannot do"),
    ("megatron_config", Refusal.SETTING, "it is made for Megatron's layers"),
)
_HARMLESS = ("use_rslora", "eva_config")


class Settings(Struct, frozen=True):
    """What the file says of strength, and of its base: its class and name in `transformers`.

    `alphas` are (pattern, alpha) in the file's order, `ranks` all that may occur.
    """

    alpha: float
    stabilised: bool
    alphas: tuple[tuple[str, float], ...]
    ranks: frozenset[int]
    base_class: str | None
    base_name: str | None

    def scaling(self, module: str, rank: int) -> float:
        """The factor of `B A` in the layer `module` of the given rank."""
        alpha = next((value for pattern, value in self.alphas if _matches(pattern, module)), self.alpha)
        return alpha / (math.sqrt(rank) if self.stabilised else rank)


def read_settings(config: Mapping[str, Any]) -> Settings:
    """The settings of a decoded `adapter_config.json`. Raises `AdapterRefused`."""
    kind = config.get("peft_type")
    if kind != "LORA":
        raise AdapterRefused(Refusal.PEFT_TYPE, f"It is of PEFT type {_shown(kind)}; only LORA can be evaluated.")
    _refuse_more_than_lora(config)
    rank, alpha = _rank(config.get("r"), "r"), _alpha(config.get("lora_alpha"), "lora_alpha")
    ranks = {_rank(value, "rank_pattern") for value in _pattern(config, "rank_pattern").values()}
    alphas = []
    for pattern, value in _pattern(config, "alpha_pattern").items():
        if not _PLAIN_PATTERN.fullmatch(pattern.replace("\\.", ".")):
            raise AdapterRefused(
                Refusal.SETTING, f"Its alpha_pattern {_shown(pattern)} is more than the end of a layer's name."
            )
        alphas.append((pattern.replace("\\.", "."), _alpha(value, "alpha_pattern")))
    mapping = config.get("auto_mapping")
    base_class = mapping.get("base_model_class") if isinstance(mapping, dict) else None
    base_name = config.get("base_model_name_or_path")
    return Settings(
        alpha=alpha,
        stabilised=bool(config.get("use_rslora")),
        alphas=tuple(alphas),
        ranks=frozenset(ranks | {rank}),
        base_class=base_class if isinstance(base_class, str) else None,
        base_name=base_name if isinstance(base_name, str) else None,
    )


def _refuse_more_than_lora(config: Mapping[str, Any]) -> None:
    for key, reason, sentence in _REFUSED:
        if config.get(key):
            raise AdapterRefused(reason, f"The adapter cannot be converted: {sentence}.")
    bias = config.get("bias") or "none"
    if bias != "none":
        raise AdapterRefused(Refusal.BIAS, f"It trains biases (bias = {_shown(bias)}), which llama.cpp cannot add.")
    start = config.get("init_lora_weights")
    if not (start is None or isinstance(start, bool) or start in _SAME_BASE):
        raise AdapterRefused(
            Refusal.INITIALISATION,
            f"Its initialisation {_shown(start)} changes the base's weights: save it again converted to plain LoRA "
            "(path_initial_model_for_weight_conversion).",
        )
    for key in sorted(config):
        if config[key] and key.startswith(("use_", "lora_ga", "velora")) | key.endswith("_config"):
            if key in _HARMLESS:
                continue
            raise AdapterRefused(Refusal.SETTING, f"Its setting {_shown(key)} is not known to leave it plain LoRA.")


def _pattern(config: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = config.get(key) or {}
    if not isinstance(found, dict) or len(found) > MAX_PATTERNS:
        raise AdapterRefused(Refusal.FILES, f"Its {key} is no table of layers, or too long.")
    return found


def _rank(value: object, key: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_RANK:
        raise AdapterRefused(Refusal.FILES, f"Its {key} gives no rank from 1 to {MAX_RANK}: {_shown(value)}.")
    return value


def _alpha(value: object, key: str) -> float:
    """Above 0: llama.cpp takes an alpha of 0 for none given."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1e-6 <= value <= 1e9:
        raise AdapterRefused(Refusal.SCALE, f"Its {key} gives no alpha above 0: {_shown(value)}.")
    return float(value)


def _matches(pattern: str, module: str) -> bool:
    """Whether the pattern is the end of the module's name, from a dot on; from its beginning on behind `^`."""
    whole, name = pattern.startswith("^"), pattern.removeprefix("^").removesuffix("$")
    return module == name or (not whole and module.endswith("." + name))


def _shown(value: object) -> str:
    try:
        return ascii(value)[:80]
    except ValueError:  # an integer of thousands of digits
        return "a number beyond all bounds"
