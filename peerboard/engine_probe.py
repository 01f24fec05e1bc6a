"""Loads the evaluation engine and says which it is, in a process of its own: one that does not fit the processor dies.

Run as `python -I -m peerboard.engine_probe`; prints `{"engine", "hardware", "devices"}`: names of what it can compute
on, graphics cards first.
"""

import json


def main() -> None:
    """Print what the engine says of itself."""
    from eval.backends import card, devices, hardware
    from eval.binding import engine_label

    found = sorted(devices(), key=lambda device: not device.is_gpu)
    names = [f"{device.name} ({device.backend})" for device in found]
    print(json.dumps({"engine": engine_label(), "hardware": hardware(card()), "devices": names}))


if __name__ == "__main__":
    main()
