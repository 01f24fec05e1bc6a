"""llama.cpp's own programs, to be measured against: built from the locked source archive with the project's flags.

    python benchmarks/llama_programs.py

The archive is the one that `requirements/all.txt` pins by hash, the flags are those of `pyproject.toml`. A build takes
about five minutes of two cores, once; programs and archive stay in the user's cache folder, which it prints.
"""

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

import platformdirs
from msgspec import Struct

from benchmarks.pip_download import download
from eval.cores import usable_cores

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "llama-cpp-python"
PROGRAMS = ("llama-server", "llama-perplexity", "llama-batched-bench")
DEFINE = "cmake.define."
# The server's page would be fetched from elsewhere; examples, tests and the rest are not wanted.
WANTED = {
    "CMAKE_BUILD_TYPE": "Release",
    "LLAMA_BUILD_EXAMPLES": "OFF",
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_UI": "OFF",
    "LLAMA_USE_PREBUILT_UI": "OFF",
}


class Programs(Struct, frozen=True):
    """Paths of the programs that comparisons run."""

    server: Path
    perplexity: Path
    batched_bench: Path


def pinned() -> tuple[str, str]:
    """The locked version, and the requirement line with its hash."""
    locked = (ROOT / "requirements" / "all.txt").read_text(encoding="utf-8")
    found = re.search(rf"^{PACKAGE}==(\S+) \\\n\s+(--hash=\S+)$", locked, re.MULTILINE)
    if found is None:
        raise SystemExit(f"requirements/all.txt does not pin {PACKAGE} by one hash.")
    return found[1], f"{PACKAGE}=={found[1]} {found[2]}\n"


def flags() -> dict[str, str]:
    """CMake definitions: the project's for its engine, and what leaves out the rest."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    settings = project["tool"]["uv"]["config-settings-package"][PACKAGE]
    return {key.removeprefix(DEFINE): value for key, value in settings.items() if key.startswith(DEFINE)} | WANTED


def llama_programs() -> Programs:
    """The programs, built first where they are missing. Raises `SystemExit` with what went wrong."""
    version, requirement = pinned()
    folder = platformdirs.user_cache_path("peerboard") / "benchmarks" / f"llama-{version}"
    stamp = folder / "flags"
    built = folder / "build" / "bin"
    described = "\n".join(f"{name}={value}" for name, value in sorted(flags().items()))
    if not stamp.is_file() or stamp.read_text(encoding="utf-8") != described:
        stamp.unlink(missing_ok=True)
        _build(folder, _unpacked(folder, requirement), built.parent)
        stamp.write_text(described, encoding="utf-8")
    return Programs(*(built / name for name in PROGRAMS))


def _unpacked(folder: Path, requirement: str) -> Path:
    if not list(folder.glob("*.tar.gz")):
        download(folder, requirement, "--no-build-isolation", "--no-binary", PACKAGE)
    source = folder / "source"
    shutil.rmtree(source, ignore_errors=True)
    with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
        archive.extractall(source, filter="data")
    return next(source.glob("*/vendor/llama.cpp"))


def _build(folder: Path, source: Path, target: Path) -> None:
    print(f"building llama.cpp's programs in {folder}; about five minutes of two cores", file=sys.stderr, flush=True)
    tools = Path(sys.executable).parent
    defines = [f"-D{name}={value}" for name, value in flags().items()]
    generator = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={tools / 'ninja'}"]
    cmake = str(tools / "cmake")
    _run([cmake, "-S", str(source), "-B", str(target), *generator, *defines], "CMake could not configure llama.cpp")
    jobs = ["--parallel", str(usable_cores())]
    _run([cmake, "--build", str(target), *jobs, "--target", *PROGRAMS], "llama.cpp's programs could not be built")


def _run(command: Sequence[str], failed: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{failed}:\n{(done.stdout + done.stderr)[-3000:]}")


if __name__ == "__main__":
    print(llama_programs().server.parent)
