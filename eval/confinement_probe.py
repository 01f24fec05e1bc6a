"""`python -I -m eval.confinement_probe LEVEL`: confines itself and says whether that holds, as one line of JSON."""

import json
import sys

from eval.confinement import Bounds, confine, holds

_BOUNDS = Bounds(memory=1 << 30, mapped=0, cpu_seconds=60)


def main() -> None:
    """Prints `{"holds": bool, "why": text}`."""
    level = sys.argv[1]
    try:
        confine(level, _BOUNDS, [])
        left = holds(level)
    except OSError as error:
        left = f"{error.strerror or error}"
    print(json.dumps({"holds": left is None, "why": f"{left}." if left else ""}))


if __name__ == "__main__":
    main()
