"""A file tree of its own for the evaluator, with namespaces, through bubblewrap (`bwrap`).

The tree holds Python, its libraries, this package and nothing else, all read-only; the programs of `/usr/bin` are not
in it. Files that a job names are not in it either: they come as open descriptors, see `eval.launcher`.
"""

import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import eval as own_package
import protocol

FILES = "/files"
"""Where a job's files appear under names of their own."""
TREE_BYTES = 1 << 20
_LIBRARIES = ("/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/local/lib", "/nix/store")
_MACHINE = (
    "/etc/ld.so.cache",
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
    "/sys/class/powercap",
    "/sys/devices/virtual/powercap",
)
_KEPT_VARIABLES = frozenset(
    {"LANG", "LANGUAGE", "LD_LIBRARY_PATH", "TZ", "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"}
)
_KEPT_PREFIXES = ("LC_", "GGML_", "OMP_")
_OWN_VARIABLES = {
    "MALLOC_ARENA_MAX": "2",
    "GGML_NO_BACKTRACE": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "OPENBLAS_NUM_THREADS": "1",  # the launcher must have one thread when it forks
}


def program() -> str | None:
    """The path of `bwrap`, if it is installed."""
    return shutil.which("bwrap")


def arguments() -> list[str]:
    """`bwrap` with its options; the command follows behind `--`. Raises `OSError` where bubblewrap is missing."""
    found = program()
    if found is None:
        raise FileNotFoundError("bwrap is not on the PATH")
    options = [found, "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    options += ["--proc", "/proc", "--dev", "/dev", "--size", str(TREE_BYTES), "--tmpfs", FILES, "--chdir", "/"]
    for path in (*_LIBRARIES, *_MACHINE):
        options += ["--ro-bind-try", path, path]
    for path in python_folders():
        options += ["--ro-bind", path, path]
    for link, target in _interpreter(Path(sys.executable)):
        options += ["--ro-bind-try", target, link]
    for device in devices():
        options += ["--dev-bind-try", device, device]
    return options


def program_arguments() -> list[str]:
    """`bwrap` for a generated program: nothing but Python, all of it read-only, and `/dev/null`.

    Raises `OSError` where bubblewrap is missing.
    """
    found = program()
    if found is None:
        raise FileNotFoundError("bwrap is not on the PATH")
    options = [found, "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--chdir", "/"]
    for path in (*_LIBRARIES, _MACHINE[0]):
        options += ["--ro-bind-try", path, path]
    for path in python_folders():
        options += ["--ro-bind", path, path]
    for link, target in _interpreter(Path(sys.executable)):
        options += ["--ro-bind-try", target, link]
    return [*options, "--dev-bind", os.devnull, os.devnull, "--remount-ro", "/"]


def program_library() -> list[str]:
    """What a generated program may read: Python's own library and the system's, no installed packages beside them."""
    own = {os.path.abspath(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")}
    return [path for path in (*_LIBRARIES, *sorted(own)) if os.path.exists(path)]


def python_folders() -> list[str]:
    """Folders with Python's library, installed packages, and this project's two that the evaluator is made of."""
    paths = {os.path.abspath(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    paths |= {str(Path(module.__path__[0]).absolute()) for module in (own_package, protocol)}
    if sys.prefix != sys.base_prefix:
        paths.add(sys.prefix)  # its pyvenv.cfg tells the interpreter where its packages are
    if sys.base_prefix not in ("/usr", "/usr/local", "/"):
        paths.add(sys.base_prefix)
    return sorted(paths)


def library_paths() -> list[str]:
    """Everything that is read while libraries are used: for rules that name what may be read."""
    return [path for path in (*_LIBRARIES, *_MACHINE, *python_folders()) if os.path.exists(path)]


def devices() -> list[str]:
    """Device files of graphics cards, where the engine was built for them."""
    if not has_gpu_engine():
        return []
    folder = Path("/dev")
    return [str(path) for pattern in ("nvidia*", "dri", "kfd") for path in sorted(folder.glob(pattern))]


def has_gpu_engine() -> bool:
    """Whether llama.cpp was built with a backend that may not be touched before a fork."""
    folder = Path(sysconfig.get_path("platlib")) / "llama_cpp/lib"
    names = ("cuda", "hip", "vulkan", "sycl", "metal")
    return any(any(folder.glob(f"libggml-{name}*")) for name in names)


def environment() -> dict[str, str]:
    """The environment of a child: what the engine needs, and none of the owner's tokens."""
    kept = {
        name: value for name, value in os.environ.items() if name in _KEPT_VARIABLES or name.startswith(_KEPT_PREFIXES)
    }
    return kept | _OWN_VARIABLES


def _interpreter(path: Path) -> Iterator[tuple[str, str]]:
    """Each link on the way to the interpreter outside the folders that are there anyway, with the program itself."""
    target = os.path.realpath(path)
    for _ in range(16):
        if not any(path.is_relative_to(folder) for folder in python_folders()):
            yield str(path), target
        if not path.is_symlink():
            return
        path = Path(os.path.normpath(path.parent / path.readlink()))
