"""Loads the evaluation engine and says which it is, in a process of its own: one that does not fit the processor dies.

Run as `python -I -m peerboard.engine_probe`; prints `{"engine", "hardware"}`.
"""

import json


def main() -> None:
    """Print what the engine says of itself."""
    from eval.binding import engine_label, hardware_class

    print(json.dumps({"engine": engine_label(), "hardware": hardware_class()}))


if __name__ == "__main__":
    main()
