"""What passes through lm-evaluation-harness's HF backend: token ids, by how much each written token led, and sums.

Needs torch and lm-eval. Answers are kept in a file as soon as they are there, so that hours of them survive an end in
between, and a text that two benchmarks ask for is computed once.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

KEPT_AT_ONCE = 32  # texts that are scored between two writings


class Heard:
    """Stands between the harness's backend and its model, and writes to `kept`."""

    def __init__(self, model: Any, kept: Path) -> None:
        self._model = model
        self._kept = kept
        self._written: dict[str, dict[str, Any]] = {}
        self._scored: dict[str, dict[str, Any]] = {}
        for line in kept.read_text(encoding="utf-8").splitlines() if kept.exists() else ():
            self._take(json.loads(line))
        self._generated = model._model_generate
        self._tokens = model._loglikelihood_tokens
        model._model_generate = self._generate
        model._loglikelihood_tokens = self._score

    def written(self, context: str) -> dict[str, Any]:
        """What the model was given for `context`, what it wrote and the lead of each token, in nats."""
        return self._written[json.dumps(self._model.tok_encode(context))]

    def scored(self, context: str, continuation: str) -> dict[str, Any]:
        """The tokens of both as the model was given them."""
        return self._scored[json.dumps([context, continuation])]

    def _take(self, line: dict[str, Any]) -> None:
        if "generated" in line:
            self._written[json.dumps(line["prompt"])] = line
        else:
            self._scored[json.dumps(line.pop("texts"))] = line

    def _keep(self, lines: list[dict[str, Any]]) -> None:
        with self._kept.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
        for line in lines:
            self._take(line)

    def _generate(self, context: Any, attention_mask: Any, **options: Any) -> Any:
        import torch

        prompts = [row[mask.bool()].tolist() for row, mask in zip(context, attention_mask, strict=True)]
        if any(json.dumps(prompt) not in self._written for prompt in prompts):
            more = {"output_logits": True, "return_dict_in_generate": True, "attention_mask": attention_mask}
            found = self._generated(context=context, **options, **more)
            top = torch.stack([logits.topk(2).values for logits in found.logits], dim=1)
            leads = (top[..., 0] - top[..., 1]).tolist()
            texts = found.sequences[:, context.shape[1] :].tolist()
            self._keep(
                [
                    {"prompt": prompt, "generated": text, "leads": [round(each, 4) for each in lead]}
                    for prompt, text, lead in zip(prompts, texts, leads, strict=True)
                ]
            )
        written = [torch.tensor(self._written[json.dumps(prompt)]["generated"]) for prompt in prompts]
        padded = torch.nn.utils.rnn.pad_sequence(
            written, batch_first=True, padding_value=self._model.tokenizer.pad_token_id
        )
        return torch.cat([context, padded.to(context.device)], dim=1)

    def _score(self, requests: Any, **options: Any) -> list[tuple[float, bool]]:
        missing = {
            json.dumps(request[0]): request for request in requests if json.dumps(request[0]) not in self._scored
        }
        alike = sorted(missing.values(), key=lambda request: len(request[1]) + len(request[2]))
        for start in range(0, len(alike), KEPT_AT_ONCE):
            some = alike[start : start + KEPT_AT_ONCE]
            found = self._tokens(some, **options | {"disable_tqdm": True})
            self._keep(list(_scored(some, found)))
            print(f"{start + len(some)} of {len(alike)} texts scored", flush=True)
        kept = [self._scored[json.dumps(request[0])] for request in requests]
        return [(line["sum"], line["greedy"]) for line in kept]


def _scored(requests: Any, found: Any) -> Iterator[dict[str, Any]]:
    for (texts, prompt, choice), (total, greedy) in zip(requests, found, strict=True):
        yield {"texts": texts, "prompt": prompt, "choice": choice, "sum": float(total), "greedy": bool(greedy)}
