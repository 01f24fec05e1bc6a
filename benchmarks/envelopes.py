"""Opening and verifying envelopes, as a share of PyNaCl's bare rate of Ed25519 verifications of the same bytes.

One core, one process, in CPU time. Both are measured in turn, in short rounds, and the medians compared, so that
whatever else the machine does falls on both alike. Limits: 60 % for a commitment of 1 KB, 30 % for a result of 7 KB.
Exits with 1 where a limit is missed.
"""

import argparse
import gc
import hashlib
import random
import statistics
import sys
import time
from collections.abc import Callable

from nacl.signing import SigningKey

from protocol import cbor
from protocol.envelope import open_envelope, seal
from protocol.fingerprint import encoded_size
from protocol.messages import Commitment, Message, Result, Run, TaskResult
from protocol.signing import PrivateKey

NETWORK = b"n" * 32
SEED = b"k" * 32
RUNNERS = 7  # five assigned and two spares


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=300, help="rounds of 10 openings and 10 verifications each")
    rounds = parser.parse_args().rounds
    met = True
    print(f"{'envelope':<38} {'bytes':>6} {'verify us':>10} {'open us':>8} {'share':>6} {'limit':>6}")
    for name, message, limit in (
        ("commitment to 25 tasks", _commitment(25), 0.6),
        ("result of 13 tasks of 5 questions", _result(13, 5), 0.3),
        ("result of 8 tasks of 27 questions", _result(8, 27), 0.3),
        ("result of 2 tasks of 120 questions", _result(2, 120), 0.3),
    ):
        size, bare, opened = _measure(message, rounds)
        met = met and bare / opened >= limit
        print(f"{name:<38} {size:>6} {bare:>10.1f} {opened:>8.1f} {bare / opened:>6.0%} {limit:>6.0%}")
    sys.exit(0 if met else 1)


def _measure(message: Message, rounds: int) -> tuple[int, float, float]:
    data = seal(PrivateKey(SEED), NETWORK, message).data
    key = SigningKey(SEED)
    payload = data[43 : len(data) - 66]  # the byte string, head included
    signed = b"".join((b"\x84\x6aSignature1", data[2:42], b"\x58\x20", NETWORK, payload))
    signature = key.sign(signed).signature
    if signature != data[-64:]:
        raise SystemExit("the bytes verified are not those of the envelope")
    verifier = key.verify_key
    gc.disable()
    times = [
        (_time(lambda: verifier.verify(signed, signature)), _time(lambda: open_envelope(data, NETWORK)))
        for _ in range(rounds)
    ]
    gc.enable()
    bare, opened = (statistics.median(column) for column in zip(*times, strict=True))
    return len(data), bare, opened


def _time(action: Callable[[], object], times: int = 10) -> float:
    """Microseconds of CPU time of one action."""
    start = time.thread_time()
    for _ in range(times):
        action()
    return (time.thread_time() - start) / times * 1e6


def _sha(*parts: object) -> bytes:
    return hashlib.sha256(cbor.encode(parts)).digest()


def _commitment(tasks: int) -> Commitment:
    return Commitment(5, _sha("ground"), tuple(_sha("task", number) for number in range(tasks)), _sha("digest"))


def _result(tasks: int, questions: int) -> Result:
    chance = random.Random(1)
    saw = tuple(tuple(_sha(task, rank)[:16] for rank in range(RUNNERS)) for task in range(tasks))
    return Result(
        epoch=5,
        ground=_sha("ground"),
        commitment=_sha("commitment"),
        salt=_sha("salt"),
        run=Run("llama-cpp-python 0.3.36", "x86-64 avx2", "reproducible", 0),
        tasks=tuple(_task_result(task, questions, chance) for task in range(tasks)),
        saw=saw,
    )


def _task_result(task: int, questions: int, chance: random.Random) -> TaskResult:
    outcomes = tuple(chance.choice((0, 1000)) for _ in range(questions))
    return TaskResult(
        task=_sha("task", task),
        questions=_sha("questions", task),
        outcomes=outcomes,
        total=sum(outcomes),
        margins=tuple(chance.randrange(8000) for _ in range(questions)),
        near_ties=bytes(-(-questions // 8)),
        fingerprint=chance.randbytes(encoded_size(questions)),
        transcript=_sha("transcript", task),
        tokens_in=chance.randrange(1000, 5000),
        tokens_out=chance.randrange(100, 1000),
        run_ms=chance.randrange(5_000, 60_000),
        energy_mj=chance.randrange(50_000, 500_000),
    )


if __name__ == "__main__":
    main()
