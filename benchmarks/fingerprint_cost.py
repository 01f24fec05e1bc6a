"""What the fingerprint adds to an evaluation's processor time, with prompts that share their examples and that do not.

    python benchmarks/fingerprint_cost.py [--model demo|large|trained] [--rounds N] [--questions N] [--values N]
                                          [--only WORDS]

Generations of 96 tokens behind 860 (GSM8K's shape with five examples), and five choices of a dozen tokens behind 212
(TruthfulQA's). `shared`: all prompts but their ends are the same and read once, as in an evaluation; `own`: nothing is
shared. The same questions are answered with and without tails in turn; each round gives one ratio of processor times.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

from benchmarks.contenders import Own
from benchmarks.evaluator_speed import MADE
from benchmarks.shapes import NEW_TOKENS, generation_prompts, offers
from eval.choices import Choices, continuation_tokens
from eval.cores import usable_cores
from eval.demo import catalogue
from eval.division import threads_for
from eval.generation import Generation
from eval.header import read_header
from eval.tails import Tail
from protocol import fingerprint

Asked = Generation | Choices
Make = Callable[[list[int] | None], list[Asked]]


def shapes(own: Own, count: int, values: int) -> dict[str, tuple[Make, int]]:
    """By name how to make the questions, with tails of eligible tokens or without, and passes after the prompts."""
    model = own.base.model
    written = [model.tokens(prompt) for prompt in generation_prompts(model, count)]
    offered = [continuation_tokens(model, offer.prompt, list(offer.choices)) for offer in offers(model, count)]

    def tail(place: int, eligible: list[int] | None) -> Tail | None:
        return None if eligible is None else Tail(fingerprint.tail(place.to_bytes(32, "big"), eligible, values))

    def generations(prompts: Sequence[list[int]]) -> Make:
        return lambda eligible: [
            Generation(model, prompt, (), NEW_TOKENS, tail(place, eligible)) for place, prompt in enumerate(prompts)
        ]

    def choices(prompts: Sequence[tuple[list[int], list[list[int]]]]) -> Make:
        return lambda eligible: [
            Choices(prompt, found, tail(place, eligible)) for place, (prompt, found) in enumerate(prompts)
        ]

    return {
        "generation, shared": (generations(written), NEW_TOKENS // 2),
        "generation, own": (
            generations([_apart(prompt, place) for place, prompt in enumerate(written)]),
            NEW_TOKENS // 2,
        ),
        "choices, shared": (choices(offered), 2),
        "choices, own": (choices([(_apart(prompt, place), found) for place, (prompt, found) in enumerate(offered)]), 2),
    }


def _apart(prompt: list[int], place: int) -> list[int]:
    """A prompt of the same length that begins otherwise."""
    return prompt[place + 1 :] + prompt[: place + 1]


def ratios(own: Own, make: Make, steps: int, rounds: int, eligible: list[int]) -> list[float]:
    def seconds(given: list[int] | None) -> float:
        asked = make(given)
        start = time.process_time()
        own.run(asked, steps)
        return time.process_time() - start

    seconds(None)
    return [seconds(eligible) / seconds(None) for _ in range(rounds)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=["demo", *MADE], default="demo")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--questions", type=int, default=8)
    parser.add_argument("--values", type=int, help="a question, in place of what the rule says")
    parser.add_argument("--only", default="", help="shapes whose name has these words, such as shared, or choices")
    given = parser.parse_args()
    path = MADE[given.model]() if given.model in MADE else catalogue.MODELS / "tally-base.gguf"
    header = read_header(path)
    own = Own(path, threads_for(header.parameters, usable_cores()))
    values = given.values or fingerprint.values_per_question(given.questions)
    chosen = {name: shape for name, shape in shapes(own, given.questions, values).items() if given.only in name}
    for name, (make, steps) in chosen.items():
        found = ratios(own, make, steps, given.rounds, header.eligible)
        share, least, most = (100 * (of(found) - 1) for of in (statistics.median, min, max))
        print(f"{given.model:6} {name:20} {share:+5.1f} %  [{least:+.1f}, {most:+.1f}]", flush=True)


if __name__ == "__main__":
    main()
