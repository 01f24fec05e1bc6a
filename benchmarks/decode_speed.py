"""Decoding with a batch of sequences: the engine beside `llama-batched-bench` at the same batch size.

    python benchmarks/decode_speed.py [--model demo|large|trained|FILE.gguf] [--threads N] [--sequences N] [--lanes N]
                                      [--rounds N]

Both decode a shared prompt of 800 tokens and then one token of each sequence at a time. What is compared is what 80 new
tokens of each sequence take beyond 16 of each: neither start nor prompt counts. The engine chooses every token, reads
its text and looks for a stop string that never comes, which the program does not; it asks a small model in lanes, as
in an evaluation, unless told otherwise. Rounds take turns; shown is the median of the ratios of processor time, all
threads together, with the least and the largest, and the same by the clock.
"""

import argparse
import json
import statistics
import subprocess
import time
from pathlib import Path

from benchmarks.contenders import Own, Spent, children_seconds, environment
from benchmarks.evaluator_speed import named
from benchmarks.llama_programs import llama_programs
from benchmarks.shapes import GENERATION_SHARED, generation_prompts
from eval.cores import usable_cores
from eval.division import threads_for
from eval.generation import Generation
from eval.header import read_header

FEW, MANY = 16, 80
NEVER_WRITTEN = "\N{SNOWMAN}" * 4


def engine(own: Own, prompts: list[list[int]], new: int) -> Spent:
    """The time in which all sequences get so many new tokens."""
    asked = [Generation(own.base.model, prompt, (NEVER_WRITTEN,), new, None) for prompt in prompts]
    used, clock = time.process_time(), time.perf_counter()
    own.run(asked, new)
    spent = Spent(time.process_time() - used, time.perf_counter() - clock)
    if any(len(question.generated) < new for question in asked):
        raise SystemExit("This model ends its texts before the last token: name one with --model that goes on.")
    return spent


def program(path: Path, threads: int, sequences: int, new: int) -> Spent:
    """The same by llama-batched-bench; by the clock, its own account of decoding alone."""
    command = [str(llama_programs().batched_bench), "-m", str(path), "-npp", str(GENERATION_SHARED), "-pps"]
    command += ["-ntg", str(new), "-npl", str(sequences), "-c", str(GENERATION_SHARED + sequences * 160 + 256)]
    command += ["-kvu", "-b", "2048", "-ub", "512", "-t", str(threads), "-tb", str(threads), "--no-repack"]
    before = children_seconds()
    done = subprocess.run(
        [*command, "-fit", "off", "--output-format", "jsonl"],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        raise SystemExit(f"llama-batched-bench ended with {done.returncode}:\n{(done.stdout + done.stderr)[-2000:]}")
    return Spent(children_seconds() - before, float(json.loads(lines[-1])["t_tg"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--model", default="large")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--sequences", type=int, default=16)
    parser.add_argument("--lanes", type=int, help="of the engine, in place of those that an evaluation would use")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    path = named(given.model)
    threads = given.threads or threads_for(read_header(path).parameters, usable_cores())
    own = Own(path, threads, lanes=given.lanes, together=given.sequences)
    model = own.base.model
    prompts = [model.tokens(prompt)[: GENERATION_SHARED + 2] for prompt in generation_prompts(model, given.sequences)]
    prompts = [[*prompt, place + 10] for place, prompt in enumerate(prompts)]
    engine(own, prompts, 2)
    ratios, clocks = [], []
    for _ in range(given.rounds):
        ours, theirs = (
            Spent(many.processor - few.processor, many.clock - few.clock)
            for few, many in (
                (engine(own, prompts, FEW), engine(own, prompts, MANY)),
                tuple(program(path, threads, given.sequences, new) for new in (FEW, MANY)),
            )
        )
        ratios.append(theirs.processor / ours.processor)
        clocks.append(theirs.clock / ours.clock)
        speed = given.sequences * (MANY - FEW) / ours.clock
        print(f"{path.name}  {speed:,.0f} tok/s  x{ratios[-1]:.2f}  clock x{clocks[-1]:.2f}", flush=True)
    print(f"median x{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})", end="  ")
    print(f"clock x{statistics.median(clocks):.2f} ({min(clocks):.2f} to {max(clocks):.2f})")


if __name__ == "__main__":
    main()
