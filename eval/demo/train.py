"""Trains the demo family and writes its GGUF files with their manifest: `python -m eval.demo.train [--out DIR]`.

Needs torch and gguf, which nothing else here does: `pip install torch gguf msgspec cbor2` in an environment of its own
is enough.
"""

import argparse
import sys
import time
from pathlib import Path

from eval.demo.catalogue import MODELS


def main() -> None:
    """Trains, and says how much processor time it took."""
    parser = argparse.ArgumentParser(description="Train the demo family and write its GGUF files.")
    parser.add_argument("--out", type=Path, default=MODELS, metavar="DIR", help="where to write (default: in place)")
    folder = parser.parse_args().out
    try:
        from eval.demo.family import train_family
    except ModuleNotFoundError as missing:
        sys.exit(f"Training needs {missing.name}, which is not installed: pip install torch gguf msgspec cbor2")
    written = train_family(folder)
    print(f"{len(written)} files in {folder}, {time.process_time() / 60:.1f} minutes of processor time")


if __name__ == "__main__":
    main()
