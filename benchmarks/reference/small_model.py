"""A small llama made on the spot, as transformers saves it and as GGUF (F32): the same weights for two engines.

Needs torch, transformers, tokenizers and gguf. Its byte-level BPE tokeniser is trained on the data sets' texts, puts a
beginning-of-sequence token before everything, and is known to llama.cpp as `gpt-2`. With `steps` it learns to write
like the prompts' examples, and some of the very questions that it will be asked by heart, so that a share of its
answers is right: two harnesses are compared with it, and its skill is nobody's concern.
"""

import csv
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from eval.prompts import TRUTHFULQA_PAIRS

CONTEXT, VOCABULARY = 4096, 2048
LENGTH = 1400  # tokens of a training text: as long as the longest prompts
SPECIAL = ("<s>", "</s>")
ASKED = 200  # of the test's questions, of which the shortest are learnt by heart
READ_EXAMPLES, READ_PAIRS = 300, 100  # few enough to be learnt in minutes


def make(folder: Path, data: Path, *, width: int, layers: int, steps: int, heart: int) -> int:
    """Writes `model.gguf` and what `from_pretrained` reads into `folder`. The number of weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    texts = Texts(data, heart)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=_tokenizer(texts), bos_token=SPECIAL[0], eos_token=SPECIAL[1], model_max_length=CONTEXT
    )
    fast.pad_token = fast.eos_token
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=width * 8 // 3 // 32 * 32,
        num_hidden_layers=layers,
        num_attention_heads=width // 32,
        num_key_value_heads=width // 64,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    torch.manual_seed(5)
    model = LlamaForCausalLM(config).float()
    if steps:
        _train(model, fast, texts, steps)
    model.generation_config.pad_token_id = 1
    model.eval().save_pretrained(folder)
    fast.save_pretrained(folder)
    _write_gguf(folder / "model.gguf", model, fast)
    return sum(parameter.numel() for parameter in model.parameters())


class Texts:
    """What the model reads: worked examples as `gsm8k` asks them, and pairs as `truthfulqa` does."""

    def __init__(self, data: Path, heart: int) -> None:
        def read(name: str) -> list[dict[str, str]]:
            return [json.loads(line) for line in (data / "gsm8k" / name).read_text(encoding="utf-8").splitlines()]

        test = read("test.jsonl")
        self.examples = [_example(row) for row in read("train.jsonl")]
        self.by_heart = sorted((_example(row) for row in test[:ASKED]), key=len)[:heart]
        with (data / "truthfulqa/TruthfulQA.csv").open(encoding="utf-8-sig", newline="") as table:
            self.pairs = [f"Q: {row['Question']}\nA: {row['Best Answer']}." for row in csv.DictReader(table)]
        self.shots = [f"Q: {question}\nA: {answer}" for question, answer in TRUTHFULQA_PAIRS]

    def all(self) -> Iterator[str]:
        """Every text once: for the tokeniser."""
        yield from self.examples
        yield from self.pairs

    def endless(self, draws: random.Random) -> Iterator[str]:
        """Documents as they follow each other in a prompt."""
        while True:
            if draws.random() < 0.15:
                yield "\n\n".join([*self.shots, *draws.sample(self.pairs[:READ_PAIRS], 8)])
            else:
                read = self.examples[:READ_EXAMPLES]
                documents = [draws.choice(self.by_heart if draws.random() < 0.8 else read) for _ in range(6)]
                yield "\n\n".join(documents)


def _example(row: dict[str, str]) -> str:
    return f"Question: {row['question']}\nAnswer: {row['answer']}"


def _tokenizer(texts: Texts) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(texts.all(), trainer)
    made.post_processor = processors.TemplateProcessing(single=f"{SPECIAL[0]} $A", special_tokens=[(SPECIAL[0], 0)])
    return made


def _train(model: Any, tokenizer: Any, texts: Texts, steps: int) -> None:
    import torch

    draws = random.Random(5)
    documents = texts.endless(draws)
    best = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.95), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(best, 3e-3, total_steps=steps, pct_start=0.1)
    for step in range(steps):
        ids: list[int] = []
        while len(ids) < LENGTH:
            ids += [*tokenizer.encode(next(documents)), tokenizer.eos_token_id]
        batch = torch.tensor([ids[:LENGTH]])
        loss = model(batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        best.step()
        schedule.step()
        best.zero_grad()
        if (step + 1) % 50 == 0:
            print(f"{step + 1} steps of training, loss {loss.item():.2f}", flush=True)


def _write_gguf(path: Path, model: Any, tokenizer: Any) -> None:
    import gguf

    config, head = model.config, model.config.hidden_size // model.config.num_attention_heads
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    described = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    tokens = sorted(described["vocab"], key=described["vocab"].get)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in SPECIAL else 1 for token in tokens])
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in described["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_add_bos_token(True)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, parameter in model.named_parameters():
        values = parameter.detach().numpy()
        if "q_proj" in name or "k_proj" in name:  # llama.cpp turns neighbouring pairs, transformers halves
            values = values.reshape(-1, 2, head // 2, values.shape[1]).swapaxes(1, 2).reshape(values.shape)
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), values.copy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
