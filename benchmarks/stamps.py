"""How many tries for a stamp one core makes in a second, beside those that a second of asked work stands for.

    python benchmarks/stamps.py [--seconds N] [--rounds N]

A stamp for N seconds takes so many tries on average and sometimes several times as many (they are independent), so
the tries are counted by what was found: the number in the stamp. A ratio above 1 is a core that is faster than
the one that `TRIES_PER_SECOND` stands for.
"""

import argparse
import statistics
import time

from protocol.stamps import STAMP_BYTES, TRIES_PER_SECOND, find_stamp


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=1, help="of work that each stamp shows")
    parser.add_argument("--rounds", type=int, default=8)
    asked = parser.parse_args()
    rates = []
    for number in range(asked.rounds):
        began = time.process_time()
        stamp = find_stamp(bytes(32), number.to_bytes(32, "big"), 1, asked.seconds)
        tries = int.from_bytes(stamp[:STAMP_BYTES], "big") + 1
        rates.append(tries / (time.process_time() - began))
    median = statistics.median(rates)
    print(f"{median:,.0f} tries a second ({min(rates):,.0f} to {max(rates):,.0f}), {median / TRIES_PER_SECOND:.2f} of")
    print(f"the {TRIES_PER_SECOND:,} that a second of asked work stands for")


if __name__ == "__main__":
    main()
