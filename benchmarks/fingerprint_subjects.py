"""Whose fingerprints are compared: models of three sizes, their prompts, and what cheats would run in their place."""

from collections.abc import Callable
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from benchmarks.altered_weights import random_adapter, with_noise
from benchmarks.large_model import large_model, quantised, with_weights
from benchmarks.shapes import offers
from benchmarks.tails_by_setup import Prompts, beginnings
from benchmarks.trained_model import trained_model, trained_variant
from eval.benchmarks import find
from eval.demo import catalogue
from eval.model import LoadedModel
from eval.scoring import data_folder

Adapter = tuple[str, float]
Instead = tuple[str, Path, Adapter | None]


class Subject(Struct, frozen=True):
    """A model whose runners are compared, and what cheats would run in its place.

    All of a `family` get the same tails behind real questions, so that one's honest run is a cheat's on another.
    """

    name: str
    file: Path
    adapter: Adapter | None = None
    instead: tuple[Instead, ...] = ()
    family: str = ""


def demo_subjects() -> list[Subject]:
    """The demo's models."""

    def file(name: str) -> Path:
        return catalogue.MODELS / f"{name}.gguf"

    base, eighth, fourth = file("tally-base"), file("tally-base-q8"), file("tally-base-q4")
    times = str(file("tally-times"))
    siblings = tuple((name, file(name), None) for name in ("tally-tree", "tally-sprout"))
    return [
        Subject(
            "tally-base (F16)",
            base,
            None,
            (("its Q8_0", eighth, None), ("its Q4_0", fourth, None), *siblings, ("with adapter", base, (times, 1.0))),
        ),
        Subject("tally-base-q8 (Q8_0)", eighth, None, (("its Q4_0", fourth, None), *siblings)),
        Subject("tally-base-q4 (Q4_0)", fourth, None, (("the Q8_0", eighth, None), *siblings)),
        Subject(
            "tally-base + tally-times (F16)",
            base,
            (times, 1.0),
            (
                ("the base alone", base, None),
                ("half the strength", base, (times, 0.5)),
                ("on the Q8_0", eighth, (times, 1.0)),
            ),
        ),
    ]


def large_subjects() -> list[Subject]:
    """The one of random weights."""
    eighth = large_model()
    half, fourth = quantised("F16"), quantised("Q4_0")
    return [
        Subject("174 M (F16)", half, None, (("its Q8_0", eighth, None), ("its Q4_0", fourth, None))),
        Subject("174 M (Q8_0)", eighth, None, (("its Q4_0", fourth, None),)),
        Subject("174 M (Q4_0)", fourth, None, (("the Q8_0", eighth, None),)),
    ]


def trained_subjects() -> list[Subject]:
    """The one that others trained, published in Q4_1; siblings have noise in their weights, of a share of these."""
    first, half = trained_model(), trained_variant("F16")
    brain, eighth, fourth, mixed = map(trained_variant, ("BF16", "Q8_0", "Q4_0", "Q4_K_M"))
    made = half.parent
    adapter = str(_once(made / "adapter-2.gguf", lambda path: random_adapter(half, 0.02, path)))

    def siblings(weights: str, *strengths: float) -> tuple[Instead, ...]:
        return tuple((f"noise of {100 * each:g} %", noisy(weights, each), None) for each in strengths)

    def noisy(weights: str, strength: float) -> Path:
        name = f"noise-{strength:g}"
        plain = _once(made / f"{name}.F16.gguf", lambda path: with_noise(half, strength, path))
        if weights == "F16":
            return plain
        return _once(made / f"{name}.{weights}.gguf", lambda path: with_weights(plain, weights, path))

    lower = (("its Q4_1", first, None), ("its Q4_0", fourth, None))
    found = [
        Subject(
            "SmolLM2 (F16)",
            half,
            None,
            (
                ("its BF16", brain, None),
                ("its Q8_0", eighth, None),
                *lower,
                *siblings("F16", 0.001, 0.003, 0.01),
                ("with adapter", half, (adapter, 1.0)),
            ),
        ),
        Subject(
            "SmolLM2 (Q8_0)", eighth, None, (*lower, ("its Q4_K_M", mixed, None), *siblings("Q8_0", 0.01, 0.03, 0.1))
        ),
        Subject("SmolLM2 (Q4_0)", fourth, None, (("the Q8_0", eighth, None), *siblings("Q4_0", 0.03, 0.1))),
        Subject("SmolLM2 (Q4_1)", first, None, (("its Q4_0", fourth, None), *siblings("Q4_1", 0.03, 0.1))),
        Subject("SmolLM2 (Q4_K_M)", mixed, None, (*lower, *siblings("Q4_K_M", 0.03, 0.1))),
        Subject(
            "SmolLM2 + adapter of 2 % (F16)",
            half,
            (adapter, 1.0),
            (
                ("the base alone", half, None),
                ("half the strength", half, (adapter, 0.5)),
                ("on the Q8_0", eighth, (adapter, 1.0)),
            ),
        ),
        Subject("SmolLM2 (BF16)", brain, None, (("its Q8_0", eighth, None), *lower, *siblings("F16", 0.003, 0.01))),
    ]
    return [replace(subject, family="SmolLM2") for subject in found]


def prompts_of(subject: Subject, questions: int) -> Prompts:
    """The prompts as the model's tokens; of real ones a fourth are GSM8K's with five examples, the others
    TruthfulQA's.

    Raises `SystemExit` where those are asked for and there is no folder of data (`PEERBOARD_DATA`).
    """
    with LoadedModel(subject.file, weights=False) as model:
        if subject.file.parent == catalogue.MODELS:
            words = find("tally-words").load(None)
            return [model.tokens(words.prompt(index)) for index in range(questions)]
        if not subject.family:
            return [model.tokens(offer.prompt) for offer in offers(model, questions)]
        data = data_folder(None)
        if data is None:
            raise SystemExit("PEERBOARD_DATA has to name a folder with `gsm8k` and `truthfulqa`.")
        numbers, truths = find("gsm8k-fixed5").load(data), find("truthfulqa-mc1").load(data)
        fourth = questions // 4
        texts = [numbers.prompt(index) for index in range(fourth)]
        texts += [truths.prompt(index) for index in range(questions - fourth)]
        return [model.tokens(text) for text in texts]


def without_examples(prompts: Prompts) -> Prompts:
    """Each prompt less what it shares with the others that begin as it does."""
    return [prompt[len(shared) :] for shared, group in beginnings(prompts) for prompt in group]


def _once(path: Path, make: Callable[[Path], Path]) -> Path:
    return path if path.is_file() else make(path)
