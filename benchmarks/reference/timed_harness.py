"""lm-evaluation-harness's HF backend answers the same questions again and again, and says how long it took.

    PYTHONPATH=. PYTHON benchmarks/reference/timed_harness.py FILE.gguf THREADS BATCH (called by harness_backend.py)

Needs torch and lm-eval. A line of JSON in asks for a round: `{"prompts": [text]}` for answers in the model's own words,
`{"offers": [[prompt, [choice]]]}` for the most likely choices; a line of JSON out has the answers, the token ids of the
first prompt, and seconds of processor time and by the clock.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
NEW_TOKENS = 96


def main() -> None:
    import torch

    path, threads, batch = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    from lm_eval.models.huggingface import HFLM

    from benchmarks.reference.gguf_in_transformers import load

    model, tokenizer = load(path)
    backend = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch)
    said, sys.stdout = sys.stdout, sys.stderr  # progress bars and notes are not answers
    print(json.dumps({"ready": True}), file=said, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        clock, used = time.perf_counter(), time.process_time()
        answers = _write(backend, asked["prompts"]) if "prompts" in asked else _choose(backend, asked["offers"])
        spent = {"processor": time.process_time() - used, "clock": time.perf_counter() - clock}
        first = asked["prompts"][0] if "prompts" in asked else asked["offers"][0][0]
        print(json.dumps({"answers": answers, "tokens": backend.tok_encode(first)} | spent), file=said, flush=True)


def _write(backend: Any, prompts: list[str]) -> list[str]:
    from lm_eval.api.instance import Instance

    settings = {"until": [], "max_gen_toks": NEW_TOKENS, "do_sample": False}
    requests = [Instance("generate_until", {}, (prompt, dict(settings)), place) for place, prompt in enumerate(prompts)]
    found: list[str] = backend.generate_until(requests, disable_tqdm=True)
    return found


def _choose(backend: Any, offers: list[tuple[str, list[str]]]) -> list[int]:
    from lm_eval.api.instance import Instance

    requests = [
        Instance("loglikelihood", {}, (prompt, choice), place)
        for prompt, choices in offers
        for place, choice in enumerate(choices)
    ]
    found = iter(backend.loglikelihood(requests, disable_tqdm=True))
    sums = [[next(found)[0] for _ in choices] for _, choices in offers]
    return [each.index(max(each)) for each in sums]


if __name__ == "__main__":
    main()
