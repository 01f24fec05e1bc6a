"""Runs one generated program: `python -sP -m eval.program_child LEVEL MEMORY CPU_SECONDS`, its text as JSON on stdin.

It confines itself before it compiles the first character, and says so. What it has to say goes to the pipe that was
stdout, a line each: `confined` or `refused REASON`, then the order's word with the milliseconds of processor time that
it has had, and `passed` or `failed EXCEPTION`. The word is new for every program: one that ends early, whatever it
prints and whatever code it ends with, has not passed.
"""

import json
import os
import sys
import time
import types

from eval.confinement import confine_program

_IMPORTERS = ("BuiltinImporter", "FrozenImporter", "PathFinder")


def main() -> None:
    """Confines itself, runs the program, says how it ended, and ends without any clearing up."""
    level, memory, cpu_seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    order = json.load(sys.stdin)
    said, nothing = os.dup(1), os.open(os.devnull, os.O_RDWR)
    say, leave, used = os.write, os._exit, time.process_time
    try:
        _only_the_standard_library()
        confine_program(level, memory, cpu_seconds)
    except OSError as error:
        say(said, f"refused {error.strerror or error}\n".encode())
        leave(1)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    say(said, b"confined\n")
    word = order["word"]
    try:
        exec(compile(f"{order['source']}\n{order['test']}", "<program>", "exec"), {})  # noqa: S102
        verdict = "passed"
    except BaseException as error:
        verdict = f"failed {type(error).__name__}"
    say(said, f"{word} {used() * 1000:.0f} {verdict}\n".encode("ascii", "replace"))
    leave(0)


def _only_the_standard_library() -> None:
    """Takes installed packages and this project out of the program's reach: it is to run alike everywhere."""
    own = os.path.dirname(os.__file__)
    sys.path[:] = [own, os.path.join(own, "lib-dynload")]
    sys.meta_path[:] = [each for each in sys.meta_path if getattr(each, "__name__", "") in _IMPORTERS]
    sys.path_importer_cache.clear()
    for name in list(sys.modules):
        if name.partition(".")[0] not in sys.stdlib_module_names:
            del sys.modules[name]
    sys.modules["__main__"] = types.ModuleType("__main__")
    sys.argv[:] = [""]


if __name__ == "__main__":
    main()
