"""The public data sets that benchmarks are made of, each pinned by the Hub's commit and by its content."""

from eval.questions import Source
from protocol.definitions import Dataset

_GSM8K = ("openai/gsm8k", "e53f048856ff4f594e959d75785d2c2d37b678ee", "main")
GSM8K_TEST = Source(
    "gsm8k/test.jsonl",
    *_GSM8K,
    "test",
    bytes.fromhex("b39357222a2e02650ffa2dfdff40219d3f2c9f04ef04a8baf7cb9e8a17417d4c"),
)
GSM8K_TRAIN = Source(
    "gsm8k/train.jsonl",
    *_GSM8K,
    "train",
    bytes.fromhex("adabcb6e82da3866f20a7d857fd0f4dac5d4154feb41eefb2dd3c1b3a6dec6da"),
)
_TRUTHFULQA = ("truthfulqa/truthful_qa", "741b8276f2d1982aa3d5b832d3ee81ed3b896490")
TRUTHFULQA_MC1 = Source(
    "truthfulqa/mc_task.json",
    *_TRUTHFULQA,
    "multiple_choice",
    "validation",
    bytes.fromhex("fdd2b5d97a0074f64601c5aa8e70aea8f35a9434faf9be094a90a4c7d7bd2f41"),
)
TRUTHFULQA_MC2 = Source(
    "truthfulqa/mc_task.json",
    *_TRUTHFULQA,
    "multiple_choice",
    "validation",
    bytes.fromhex("9b72e306c7368cdaf3c178a7ba22c45ab294a918ad756a3f6986a1d6125e0ac5"),
)
TRUTHFULQA_TEXTS = Source(
    "truthfulqa/TruthfulQA.csv",
    *_TRUTHFULQA,
    "generation",
    "validation",
    bytes.fromhex("c6af2ddbab09bea69ecc6165b16039a3373c8254b3fa98dbd700955104b28f93"),
)
HUMANEVAL = Source(
    "humaneval/HumanEval.jsonl",
    "openai/openai_humaneval",
    "7dce6050a7d6d172f3cc5c32aa97f52fa1a2e544",
    "openai_humaneval",
    "test",
    bytes.fromhex("9837b311cc918548274b859832291aa3c1f2d733c10ca35dfb50a5f3f9c7b23e"),
)


def dataset(source: Source, questions: int) -> Dataset:
    """A source as a definition names it."""
    return Dataset(source.repository, source.commit, source.configuration, source.split, source.content, questions)
