"""PEFT adapters as a person uses them: named on the command line, and compared with the base."""

import hashlib
from fractions import Fraction
from math import comb, sqrt
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from eval.artefacts import Resolver
from eval.cache import Cache
from eval.chosen import choose
from eval.comparison import as_data, paired
from eval.demo import catalogue
from eval.evaluation import open_base
from eval.failing import EvaluationError, RequestWrong
from eval.header import ALIGNMENT, read_header
from eval.job import AdapterFile, Job
from eval.local import compare, evaluate
from eval.peft import CONFIG, WEIGHTS, convert
from eval.peft_refusals import AdapterRefused, Refusal
from protocol.definitions import Adapter, HubFile
from protocol.failures import Failure
from tests.eval.peft_adapters import GOLDEN, Array, write_peft

BASE, ADAPTER = catalogue.MODELS / "tally-base.gguf", catalogue.MODELS / "tally-times.gguf"
NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


@pytest.fixture(scope="session")
def times(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packaged adapter as PEFT would have saved it."""
    header, heads = read_header(ADAPTER), read_header(BASE).of_architecture("attention.head_count", 0)
    data = ADAPTER.read_bytes()
    end = max(tensor.offset + tensor.size + -tensor.size % ALIGNMENT for tensor in header.tensors)
    tensors: dict[str, Array] = {}
    for tensor in header.tensors:
        start = len(data) - end + tensor.offset
        values = np.frombuffer(data[start : start + tensor.size], {0: "<f4", 1: "<f2"}[tensor.weight_type])
        values = values.reshape(tensor.shape[::-1])
        _, layer, name, _, half = tensor.name.split(".")
        if name in ("attn_q", "attn_k") and half == "lora_b":
            values = values.reshape(heads, -1, 2, values.shape[1]).swapaxes(1, 2).reshape(values.shape)
        saved = f"base_model.model.model.layers.{layer}.{NAMES[name]}.lora_{half[-1].upper()}.weight"
        tensors[saved] = np.ascontiguousarray(values)
    rank = min(tensor.shape[1] for tensor in header.tensors if tensor.name.endswith("lora_a"))
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": header.metadata["adapter.lora.alpha"]}
    return write_peft(tmp_path_factory.mktemp("hub") / "times-in-peft", config, tensors)


def registered(path: Path) -> HubFile:
    """The file as a registration pins it."""
    data = path.read_bytes()
    return HubFile("somebody/times-in-peft", "a" * 40, path.name, hashlib.sha256(data).digest(), len(data))


def test_an_adapter_from_peft_is_registered_by_its_two_files(times: Path, tmp_path: Path) -> None:
    weights, configuration = times / WEIGHTS, times / CONFIG
    (base,) = (model for model in catalogue.packaged_models() if model.name == "tally-base")
    adapter = Adapter(registered(weights), 500, registered(configuration))
    model = replace(base, adapters=(adapter,))
    assert model.name == "tally-base + times-in-peft*0.5"
    assert model.id != replace(base, adapters=(Adapter(adapter.file, 500, adapter.file),)).id
    assert model.total_bytes == base.total_bytes + weights.stat().st_size + configuration.stat().st_size

    cache = Cache(tmp_path / "cache", 1 << 24, reserve=0)
    resolver = Resolver((weights, configuration), cache, hub=False)
    _, (found,) = resolver.resolve_model(model)
    convert(times, read_header(BASE), base.base.sha256, tmp_path / "alone.gguf")
    assert Path(found.path).read_bytes() == (tmp_path / "alone.gguf").read_bytes()
    assert (found.sha256, found.scale) == (hashlib.sha256(Path(found.path).read_bytes()).digest(), 500)

    written = Path(found.path).stat().st_mtime_ns
    with resolver.held(model):
        assert resolver.resolve_model(model)[1] == (found,)
    assert Path(found.path).stat().st_mtime_ns == written
    answers = evaluate("tally-base", "tally-words", 20, loras=[found.path])["outcomes"]
    assert answers == evaluate("tally-base", "tally-words", 20, loras=["tally-times"])["outcomes"]


def test_a_registered_adapter_that_cannot_be_converted_is_refused(times: Path, tmp_path: Path) -> None:
    (tmp_path / CONFIG).write_text('{"peft_type": "LORA", "r": 16, "lora_alpha": 32, "use_dora": true}')
    adapter = Adapter(registered(times / WEIGHTS), 1000, registered(tmp_path / CONFIG))
    (base,) = (model for model in catalogue.packaged_models() if model.name == "tally-base")
    cache = Cache(tmp_path / "cache", 1 << 24, reserve=0)
    resolver = Resolver((times / WEIGHTS, tmp_path / CONFIG), cache, hub=False)
    with pytest.raises(AdapterRefused) as refused:
        resolver.resolve_model(replace(base, adapters=(adapter,)))
    assert refused.value.reason is Refusal.DORA
    small = Resolver((times / WEIGHTS, times / CONFIG), Cache(tmp_path / "small", 1000, reserve=0), hub=False)
    fitting = Adapter(registered(times / WEIGHTS), 1000, registered(times / CONFIG))
    with pytest.raises(EvaluationError, match="raise the setting 'disk'"):
        small.resolve_model(replace(base, adapters=(fitting,)))


def test_an_adapter_from_peft_answers_as_the_packaged_one(times: Path) -> None:
    packaged = evaluate("tally-base", "tally-words", 40, loras=["tally-times"])
    for typed in (str(times), str(times / "adapter_model.safetensors")):
        found = evaluate("tally-base", "tally-words", 40, loras=[typed])
        assert found["model"] == "tally-base + times-in-peft"
        assert [item["outcome"] for item in found["outcomes"]] == [item["outcome"] for item in packaged["outcomes"]]
    assert packaged["score"] > evaluate("tally-base", "tally-words", 40)["score"]


def test_a_scale_and_several_adapters(times: Path) -> None:
    chosen = choose("tally-base", [f"{times}=0.25", "tally-largest=0.5", str(times)])
    assert [scale for _, scale in chosen.adapters] == [250, 500, 1000]
    packaged, mixed = (
        evaluate("tally-base", "tally-words", 20, loras=[f"{typed}=0.5", "tally-largest=0.5"])
        for typed in ("tally-times", times)
    )
    assert mixed["outcomes"] == packaged["outcomes"]
    assert [item["scale"] for item in mixed["adapters"]] == [500, 500]


def test_an_adapter_for_another_base_is_refused(times: Path, tmp_path: Path) -> None:
    with pytest.raises(AdapterRefused) as refused:
        evaluate("tally-base", "tally-words", 1, loras=[str(GOLDEN / "phi3")])
    assert refused.value.reason is Refusal.ARCHITECTURE
    with pytest.raises(EvaluationError, match=r"adapter_config\.json cannot be read"):
        evaluate("tally-base", "tally-words", 1, loras=[str(tmp_path)])
    convert(times, read_header(BASE), b"\7" * 32, tmp_path / "bound.gguf")
    with pytest.raises(EvaluationError, match="was converted for the base with SHA-256 0707") as elsewhere:
        evaluate("tally-base", "tally-words", 1, loras=[str(tmp_path / "bound.gguf")])
    assert elsewhere.value.failure is Failure.ADAPTER_REFUSED


def test_the_same_adapter_twice_is_refused(times: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(ADAPTER.read_bytes())
    wanted = {
        ("tally-times", "tally-times=0.5"): ("tally-times is named twice", "tally-times=1.5"),
        ("tally-times=9", str(copy)): ("tally-times and copy are the same", "copy=10"),
        (str(times), f"{times}=2"): ("times-in-peft is named twice", "times-in-peft=3"),
    }
    for loras, (said, remedy) in wanted.items():
        with pytest.raises(RequestWrong, match=said) as wrong:
            evaluate("tally-base", "tally-words", 1, loras=loras)
        assert wrong.value.remedy.endswith(remedy)
    with pytest.raises(RequestWrong, match="tally-times is named twice"):
        evaluate("tally-times", "tally-words", 1, loras=["tally-times"])
    (once,) = evaluate("tally-base", "tally-words", 1, loras=["tally-times"])["adapters"]
    sha256 = bytes.fromhex(once["sha256"])
    adapters = (AdapterFile(str(ADAPTER), sha256), AdapterFile(str(copy), sha256, 500))
    job = Job(str(BASE), bytes(32), "tally-words", (0,), adapters)
    with pytest.raises(AdapterRefused, match=r"tally-times\.gguf is among the adapters 2 times") as refused:
        open_base(job)
    assert (refused.value.reason, refused.value.failure) == (Refusal.TWICE, Failure.ADAPTER_REFUSED)


def test_the_gain_of_an_adapter(times: Path) -> None:
    found = compare("tally-base", "tally-words", 40, loras=[str(times)])
    comparison = found["comparison"]
    base = comparison["base"]
    assert base["model"] == "tally-base"
    assert base["correct"] + comparison["gained"] - comparison["lost"] == found["correct"]
    assert comparison["difference"] == pytest.approx(found["score"] - base["score"])
    assert comparison["low"] < comparison["difference"] < comparison["high"]
    assert [item["index"] for item in base["outcomes"]] == [item["index"] for item in found["outcomes"]]
    by_name = compare("tally-times", "tally-words", 40)["comparison"]
    assert by_name == comparison
    with pytest.raises(EvaluationError, match="without an adapter"):
        compare("tally-base", "tally-words", 1)


def test_a_comparison_by_hand() -> None:
    """Bonett and Price's interval of 3 gained and 1 lost of 10; the sign test of 3 to 1."""
    found = paired([0] * 3 + [1000] + [1000] * 6, [1000] * 3 + [0] + [1000] * 6)
    assert (found.gained, found.lost, found.difference, found.chance) == (3, 1, Fraction(1, 5), Fraction(10, 16))
    up, down = 4 / 12, 2 / 12
    half = 1.96 * sqrt((up + down - (up - down) ** 2) / 12)
    assert float(found.low) == pytest.approx(up - down - half)
    assert float(found.high) == pytest.approx(up - down + half)
    assert as_data(found)["difference"] == 20.0


def test_nothing_changed() -> None:
    found = paired([1000, 0], [1000, 0])
    assert (found.gained, found.lost) == (0, 0)
    assert (found.difference, found.chance) == (Fraction(0), Fraction(1))
    assert found.low < 0 < found.high


def test_comparisons_of_other_questions_are_refused() -> None:
    for before, after in (([], []), ([0], [0, 0])):
        with pytest.raises(ValueError, match=r"question|longer"):
            paired(before, after)


OUTCOMES = st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), min_size=1, max_size=60)


@given(OUTCOMES)
def test_the_other_way_round_is_the_negative(pairs: list[tuple[int, int]]) -> None:
    before, after = zip(*pairs, strict=True)
    there, back = paired(before, after), paired(after, before)
    assert (there.gained, there.lost, there.chance) == (back.lost, back.gained, back.chance)
    assert (there.low, there.difference, there.high) == (-back.high, -back.difference, -back.low)
    assert -1 <= there.low <= there.difference <= there.high <= 1
    assert there.low < there.high


@given(st.integers(0, 30), st.integers(0, 30))
def test_the_sign_test_is_the_binomial_s(gained: int, lost: int) -> None:
    found = paired([0] * gained + [1000] * lost, [1000] * gained + [0] * lost) if gained + lost else paired([0], [0])
    changed = gained + lost
    as_uneven = [few for few in range(changed + 1) if abs(2 * few - changed) >= abs(gained - lost)]
    assert found.chance == Fraction(sum(comb(changed, few) for few in as_uneven), 2**changed)
