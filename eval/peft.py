"""PEFT adapters (`adapter_config.json` and `adapter_model.safetensors`) as GGUF adapters, which llama.cpp applies.

What comes out depends on the adapter's two files and on the base alone, byte for byte, so that its SHA-256 can be
registered. It names the base file's SHA-256 and is refused with any other: an adapter of the same shapes would load,
and spoil the answers. Nothing here trusts the adapter: what is read is a converted file or an `AdapterRefused`.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from msgspec import Struct

from eval.gguf_writing import Pending, write_gguf
from eval.header import Header, Tensor
from eval.peft_refusals import AdapterRefused, Refusal
from eval.peft_settings import Settings, read_settings
from eval.safetensors import SafetensorsFile, SafetensorsRefused, Values, json_object, open_safetensors
from eval.tensor_names import CLASSES, EMBEDDING, LAYERS, OUTPUT, architectures_with, place

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
BASE_KEY = "peerboard.base.sha256"
MAX_CONFIG_BYTES = 4 << 20
LARGEST = np.float32(1e30)

_HALF = re.compile(
    r"(?:base_model\.model\.)?(?P<module>.+)\.lora_(?:(?P<half>[AB])(?:\.\w+)?\.weight|embedding_(?P<table>[AB])(?:\.\w+)?)",
    re.ASCII,
)
_ROTATED = {"attn_q": "attention.head_count", "attn_k": "attention.head_count_kv"}


class _Pair(Struct, frozen=True):
    """The two halves of one module's change by their names in the file; `table` for those of an embedding."""

    module: str
    a: str
    b: str
    table: bool


class _Fitted(Struct, frozen=True):
    """A pair with the base's tensor that it changes, its rank and the strength of `B A`."""

    pair: _Pair
    tensor: Tensor
    layer: int
    rank: int
    scaling: float


def is_peft(path: Path) -> bool:
    """Whether a person who names this path means a PEFT adapter: its folder, or its file of weights."""
    return path.is_dir() or path.suffix == ".safetensors"


def folder_of(path: Path) -> Path:
    """The folder of the adapter that `is_peft` knows by this path."""
    return path if path.is_dir() else path.parent


def settings_of(adapter: Path) -> Settings:
    """What the PEFT adapter at `adapter` (its folder, or the weights in it) says of itself. Raises `AdapterRefused`."""
    return _settings(folder_of(adapter) / CONFIG)


def convert(adapter: Path, base: Header, base_sha256: bytes, target: Path) -> None:
    """Writes the PEFT adapter at `adapter` (its folder, or the weights in it) to `target`, for exactly this base.

    Raises as `convert_files` does.
    """
    weights = adapter if adapter.suffix == ".safetensors" and not adapter.is_dir() else folder_of(adapter) / WEIGHTS
    convert_files(weights, folder_of(adapter) / CONFIG, base, base_sha256, target)


def convert_files(weights: Path, configuration: Path, base: Header, base_sha256: bytes, target: Path) -> None:
    """Writes the PEFT adapter of these two files to `target`, for exactly this base.

    Raises `AdapterRefused`, and `OSError` where `target` cannot be written.
    """
    settings = _settings(configuration)
    _check_architecture(settings, base)
    try:
        file = _weights(weights)
        tensors = {tensor.name: tensor for tensor in base.tensors}
        placed = [(pair, *_placed(pair, base, tensors)) for pair in _pairs(file)]
        fitted = [_fitted(pair, tensor, layer, file, settings) for pair, tensor, layer in placed]
        strengths = {each.scaling * each.rank for each in fitted}
        alpha = float(np.float32(strengths.pop() if len(strengths) == 1 else settings.alpha))
        metadata: dict[str, str | float] = {
            "general.architecture": base.architecture,
            "general.type": "adapter",
            "adapter.type": "lora",
            "adapter.lora.alpha": alpha,
            BASE_KEY: base_sha256.hex(),
        }
        fitted.sort(key=lambda each: each.tensor.name)
        write_gguf(target, metadata, [half for each in fitted for half in _halves(each, file, base, alpha)])
    except SafetensorsRefused as error:
        raise AdapterRefused(Refusal.FILES, f"{weights.name}: {error}.") from None


def check_base(header: Header, base_sha256: bytes) -> None:
    """Refuses a converted adapter with any base but its own. Raises `AdapterRefused`."""
    bound = header.metadata.get(BASE_KEY)
    if bound is not None and bound != base_sha256.hex():
        raise AdapterRefused(
            Refusal.OTHER_BASE,
            f"It was converted for the base with SHA-256 {str(bound)[:64]}; this one has {base_sha256.hex()}.",
        )


def _settings(path: Path) -> Settings:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise AdapterRefused(Refusal.FILES, f"{path} cannot be read: {error.strerror}.") from None
    if len(data) > MAX_CONFIG_BYTES:
        raise AdapterRefused(Refusal.FILES, f"{path.name} is larger than {MAX_CONFIG_BYTES >> 20} MiB.")
    try:
        return read_settings(json_object(data))
    except SafetensorsRefused as error:
        raise AdapterRefused(Refusal.FILES, f"{path.name}: {error}.") from None


def _weights(path: Path) -> SafetensorsFile:
    try:
        return open_safetensors(path)
    except OSError as error:
        pickled = path.with_suffix(".bin").exists()
        remedy = " Its adapter_model.bin can run code and is not read: save it again as safetensors." if pickled else ""
        raise AdapterRefused(Refusal.FILES, f"{path} cannot be read: {error.strerror}.{remedy}") from None


def _check_architecture(settings: Settings, base: Header) -> None:
    if base.architecture not in LAYERS:
        raise AdapterRefused(
            Refusal.ARCHITECTURE,
            f"PEFT adapters for {base.architecture} models are not converted; known are {', '.join(LAYERS)}.",
        )
    told = CLASSES.get(settings.base_class or "")
    if told is not None and told != base.architecture:
        raise AdapterRefused(Refusal.ARCHITECTURE, f"It is for {told} models, the base is {base.architecture}.")


def _pairs(file: SafetensorsFile) -> list[_Pair]:
    halves: dict[tuple[str, bool], dict[str, str]] = {}
    for name in sorted(file.extents):
        found = _HALF.fullmatch(name)
        if found is None:
            raise _unknown(name)
        half = found["half"] or found["table"]
        pair = halves.setdefault((found["module"], found["half"] is None), {})
        if half in pair:
            raise AdapterRefused(Refusal.INCOMPLETE, f"{found['module']} has lora_{half} twice: one adapter a file.")
        pair[half] = name
    if not halves:
        raise AdapterRefused(Refusal.INCOMPLETE, "It has no tensors.")
    for (module, _), pair in halves.items():
        if len(pair) < 2:
            raise AdapterRefused(Refusal.INCOMPLETE, f"{module} has lora_{next(iter(pair))} and not the other half.")
    return [_Pair(module, pair["A"], pair["B"], table) for (module, table), pair in halves.items()]


def _unknown(name: str) -> AdapterRefused:
    if "lora_magnitude_vector" in name:
        return AdapterRefused(Refusal.DORA, "It holds DoRA's magnitudes, which llama.cpp cannot apply.")
    if name.endswith(".bias"):
        return AdapterRefused(Refusal.BIAS, f"It holds a bias ({name}), which llama.cpp cannot add.")
    if name.endswith(".weight") and ".lora_" not in name:
        return AdapterRefused(
            Refusal.WHOLE_LAYERS,
            f"It holds a whole layer ({name}): a changed one cannot be applied; save an unchanged one's adapter with "
            "save_embedding_layers=False.",
        )
    return AdapterRefused(Refusal.UNKNOWN_TENSOR, f"{name} is no part of a LoRA adapter.")


def _placed(pair: _Pair, base: Header, tensors: Mapping[str, Tensor]) -> tuple[Tensor, int]:
    """The base's tensor that the pair changes, and its layer."""
    found = place(base.architecture, pair.module)
    if found is None:
        others = architectures_with(pair.module)
        if others:
            reason = f"{pair.module} is a layer of {', '.join(others)} models, the base is {base.architecture}."
            raise AdapterRefused(Refusal.ARCHITECTURE, reason)
        raise AdapterRefused(Refusal.UNKNOWN_TENSOR, f"{base.architecture} models have no layer {pair.module}.")
    if found.tensor in (EMBEDDING, OUTPUT) and OUTPUT not in tensors:
        raise AdapterRefused(
            Refusal.EMBEDDINGS,
            f"It adapts {pair.module}; in this base embedding and output are one matrix, which llama.cpp cannot adapt.",
        )
    if pair.table != (found.tensor == EMBEDDING):
        raise AdapterRefused(Refusal.EMBEDDINGS, f"{pair.module} is adapted in a way that its kind of layer is not.")
    if found.tensor not in tensors:
        raise AdapterRefused(Refusal.ARCHITECTURE, f"The base has no tensor {found.tensor} for {pair.module}.")
    return tensors[found.tensor], found.layer


def _fitted(pair: _Pair, tensor: Tensor, layer: int, file: SafetensorsFile, settings: Settings) -> _Fitted:
    rank = _rank(pair, file, tensor)
    if rank not in settings.ranks:
        raise AdapterRefused(
            Refusal.SHAPE,
            f"{pair.module} has the rank {rank}, which {CONFIG} does not give ({sorted(settings.ranks)}).",
        )
    return _Fitted(pair, tensor, layer, rank, settings.scaling(pair.module, rank))


def _rank(pair: _Pair, file: SafetensorsFile, tensor: Tensor) -> int:
    a, b = file.extents[pair.a].shape, file.extents[pair.b].shape
    if len(tensor.shape) != 2:
        raise AdapterRefused(Refusal.SHAPE, f"The base's {tensor.name} is no matrix, but {_by(tensor.shape)}.")
    inputs, outputs = tensor.shape[::-1] if pair.table else tensor.shape
    if len(a) != 2 or len(b) != 2 or (a[1], b[0], b[1]) != (inputs, outputs, a[0]):
        raise AdapterRefused(
            Refusal.SHAPE,
            f"{pair.module} has halves of {_by(a)} and {_by(b)}; the base's {tensor.name} needs rank x {inputs} "
            f"and {outputs} x rank.",
        )
    return a[0]


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "no dimension"


def _halves(fitted: _Fitted, file: SafetensorsFile, base: Header, alpha: float) -> tuple[Pending, Pending]:
    pair, name = fitted.pair, fitted.tensor.name
    a_shape, b_shape = file.extents[pair.a].shape, file.extents[pair.b].shape
    factor = fitted.scaling * fitted.rank / alpha  # llama.cpp itself multiplies by alpha / rank
    heads = _rotated_heads(fitted, base, b_shape[0])

    def a() -> Values:
        values = _finite(file.values(pair.a), pair.module)
        return values.T if pair.table else values  # llama.cpp looks rows up by token

    def b() -> Values:
        values = file.values(pair.b)
        if abs(factor - 1) > 1e-6:
            with np.errstate(over="ignore"):
                values = (values.astype(np.float64) * factor).astype(np.float32)
        return _finite(interleaved(values, heads) if heads else values, pair.module)

    return (
        Pending(f"{name}.lora_a", a_shape[::-1] if pair.table else a_shape, a),
        Pending(f"{name}.lora_b", b_shape, b),
    )


def _rotated_heads(fitted: _Fitted, base: Header, rows: int) -> int:
    """The heads whose rows llama.cpp stores in another order than `transformers`, or 0 where it does not."""
    key = _ROTATED.get(fitted.tensor.name.split(".")[-2])
    if base.architecture != "llama" or key is None:
        return 0
    heads = base.metadata.get(f"llama.{key}", base.metadata.get("llama.attention.head_count"))
    if isinstance(heads, tuple):
        heads = heads[fitted.layer] if fitted.layer < len(heads) else 0
    if not isinstance(heads, int) or heads < 1 or rows % (2 * heads):
        raise AdapterRefused(Refusal.SHAPE, f"The base does not tell the heads of {fitted.tensor.name}.")
    return heads


def interleaved(rows: Values, heads: int) -> Values:
    """Rows of a rotated projection in llama's order: the two halves of each head taken in turn.

    Rotary embeddings turn pairs of rows: `transformers` pairs row i with row i + half, llama.cpp's `llama` with i + 1.
    """
    halves = rows.reshape(heads, 2, rows.shape[0] // heads // 2, rows.shape[1])
    return halves.swapaxes(1, 2).reshape(rows.shape)


def _finite(values: Values, module: str) -> Values:
    if values.size and not np.abs(values).max() <= LARGEST:  # not: NaN compares as false
        raise AdapterRefused(Refusal.NOT_FINITE, f"{module} holds values that are not finite, or beyond all bounds.")
    return values
