"""A quick look at what a network has learned, while it trains: the figures that count come from the GGUF files.

A word problem counts as solved where every token of the worked answer is the most likely one, which is what greedy
decoding would write; a choice as the evaluator scores it.
"""

from collections.abc import Iterator

import torch

from eval.demo.byte_pairs import BEGIN, BytePairs
from eval.demo.choices import KINDS
from eval.demo.network import Network
from eval.demo.questions import choice_prompt, choice_questions, word_prompt, word_questions
from eval.demo.words import OPERATIONS


def examine(network: Network, pairs: BytePairs, each: int) -> dict[str, float]:
    """The share of right answers to the first `each` test questions of every operation and kind."""
    scores = {}
    for place, operation in enumerate(OPERATIONS):
        asked = word_questions()[place :: len(OPERATIONS)][:each]
        texts = [(word_prompt(item.question), f" {item.answer}\n\n") for item in asked]
        solved = [exact for _, exact in _judge(network, pairs, texts)]
        scores[operation] = sum(solved) / len(solved)
    for place, kind in enumerate(KINDS):
        right = 0
        for item in choice_questions()[place :: len(KINDS)][:each]:
            texts = [(choice_prompt(item.question), f" {choice}") for choice in item.choices]
            sums = [likelihood for likelihood, _ in _judge(network, pairs, texts)]
            right += sums.index(max(sums)) == item.answer
        scores[kind] = right / each
    return scores


def _judge(network: Network, pairs: BytePairs, texts: list[tuple[str, str]]) -> Iterator[tuple[float, bool]]:
    """For each prompt and continuation: the continuation's log-likelihood, and whether greedy decoding gives it."""
    rows = [([BEGIN, *pairs.encode(prompt)], pairs.encode(answer)) for prompt, answer in texts]
    longest = max(len(prompt) + len(answer) for prompt, answer in rows)
    tokens = torch.zeros(len(rows), longest, dtype=torch.long)
    for place, (prompt, answer) in enumerate(rows):
        tokens[place, : len(prompt) + len(answer)] = torch.tensor(prompt + answer)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        likelihoods = network(tokens).float().log_softmax(-1)
    for place, (prompt, answer) in enumerate(rows):
        where = likelihoods[place, len(prompt) - 1 : len(prompt) + len(answer) - 1]
        wanted = torch.tensor(answer)
        total = where.gather(1, wanted[:, None]).sum().item()
        yield total, bool((where.argmax(1) == wanted).all())
