"""Install Peerboard and everything it needs into .venv, and say what is happening meanwhile.

Run by ``make setup`` in the checkout's root, with any Python that is new enough and nothing but its standard
library. Only when everything is in place does it leave the stamp ``.venv/.installed``, which holds the
checkout's path.
"""

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

ENVIRONMENT = Path(".venv")
PYTHON = ENVIRONMENT / "bin" / "python"
STAMP = ENVIRONMENT / ".installed"
LOG = ENVIRONMENT / "setup.log"
ENGINE = "llama-cpp-python"
ENGINE_PIN = ENVIRONMENT / "engine.txt"
SECONDS_BETWEEN_SIGNS_OF_LIFE = 10
STEPS = 6

# What pip's configuration says and uv reads from these variables only.
UV_NAMES_OF_PIP_SETTINGS = {
    "index-url": "UV_DEFAULT_INDEX",
    "find-links": "UV_FIND_LINKS",
    "cert": "SSL_CERT_FILE",
}

AGAIN = "Then run the same command again: what has been downloaded is kept."
COMPILATION_FAILED = r"CMake Error|CMake build failed|compilation terminated"
ADVICE = [
    (r"No space left on device", "The disk is full: make about 2 GB free."),
    (
        r"DO NOT MATCH THE HASHES|[Hh]ash mismatch",
        "A downloaded file is not the one that requirements/ pins: do not install it, and find out"
        " whether a mirror or a proxy changes it.",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|invalid peer certificate",
        "The package index's certificate is not trusted here: point SSL_CERT_FILE at your certificates.",
    ),
    (
        r"Failed to (establish a new connection|fetch)|name resolution|dns error|error sending request"
        r"|[Cc]onnection (error|refused|reset|timed out)|[Nn]etwork is unreachable|No matching distribution",
        "The package index could not be reached: check the network, the proxy and pip's configuration.",
    ),
    (
        r"Killed signal terminated program|out of memory|Cannot allocate memory",
        "The compiler ran out of memory: set CMAKE_BUILD_PARALLEL_LEVEL=1 in the environment.",
    ),
    (
        r"ensurepip is not available|No module named '?(ensurepip|venv|pip)",
        "This Python comes without pip or venv: install them (Debian, Ubuntu: apt-get install python3-venv).",
    ),
    (
        f"{COMPILATION_FAILED}|Failed to build",
        "A package could not be compiled: install a recent GCC or Clang, or name one with CC and CXX.",
    ),
]


class SetupError(Exception):
    """A step that failed: what failed, and what to do about it."""

    def __init__(self, failed: str, advice: str) -> None:
        super().__init__(failed)
        self.advice = advice


def main() -> int:
    """Install, and give the exit status: 0 done, 1 failed, 130 interrupted."""
    began = time.monotonic()
    try:
        STAMP.unlink(missing_ok=True)
        install()
    except SetupError as error:
        print(f"\nSetup failed: {error}\n{error.advice} {AGAIN}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"\nSetup failed: {error}\nMake this folder writable, with 2 GB free. {AGAIN}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nSetup was interrupted, nothing is broken. {AGAIN}", file=sys.stderr)
        return 130
    STAMP.write_text(str(Path.cwd()))
    print(f"Installed in {clock(time.monotonic() - began)}.", flush=True)
    return 0


def install() -> None:
    """Go through the steps, each of which finds what an earlier run has done."""
    print("Setting up Peerboard in .venv (the first time: about five minutes, 2 GB of disk)", flush=True)
    if not list(ENVIRONMENT.glob("lib/python3*/site-packages/llama_cpp")):
        check_compiler()
    kept = is_usable_environment()
    if not kept:
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        ENVIRONMENT.mkdir()
    LOG.write_text("")
    python = str(PYTHON)
    create = [python, "--version"] if kept else [sys.executable, "-m", "venv", str(ENVIRONMENT)]
    version = ".".join(map(str, sys.version_info[:3]))
    run_step(1, "keeping the environment" if kept else f"a new environment with Python {version}", create)
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check", "--require-hashes"]
    run_step(2, "the installer uv", [*pip, "-r", "requirements/uv.txt"])
    uv = [str(ENVIRONMENT / "bin" / "uv"), "pip", "install", "--python", python]
    packages = ["--require-hashes", "--build-constraints", "requirements/build.txt", "-r", "requirements/all.txt"]
    tools = ["--require-hashes", "-r", "requirements/build.txt"]
    # Hashes pin everything, so what uv has in its cache is as good as what the index would send; with some
    # indexes only --offline makes it use what it has compiled before. The engine, which takes minutes to compile, has
    # a step of its own: any other package that is not in the cache would send all of them to the index.
    ENGINE_PIN.write_text(engine_pin())
    engine = ["--no-deps", "--require-hashes", "--build-constraints", "requirements/build.txt", "-r", str(ENGINE_PIN)]
    run_step(3, "the engine llama.cpp", [*uv, "--offline", *engine], [*uv, *engine])
    run_step(4, "the locked packages", [*uv, "--offline", *packages], [*uv, *packages])
    run_step(5, "the build tools", [*uv, "--offline", *tools], [*uv, *tools])
    run_step(6, "Peerboard itself", [*uv, "--no-deps", "--no-build-isolation", "-e", "."])
    link_trio()
    check_engine()


def engine_pin() -> str:
    """Give the engine's lines of requirements/all.txt: its version and hashes."""
    locked = Path("requirements/all.txt").read_text()
    found = re.search(rf"^{ENGINE}==.*\n(?: +.*\n)*", locked, re.MULTILINE)
    if found is None:
        raise SetupError(f"requirements/all.txt does not pin {ENGINE}.", "Restore that file by git.")
    return found[0]


def check_compiler() -> None:
    """Compile a line of C++17, which llama.cpp needs.

    Raises SetupError if there is no compiler or it is too old.
    """
    found = [name for name in ("c++", "g++", "clang++") if shutil.which(name)]
    compiler = shlex.split(os.environ.get("CXX", "")) or found[:1] or ["c++"]
    advice = (
        "Install one (Debian, Ubuntu: apt-get install g++; Fedora: dnf install gcc-c++; macOS: xcode-select"
        " --install) or name one with CC and CXX in the environment."
    )
    if not shutil.which(compiler[0]):
        raise SetupError(f"there is no C++ compiler: {compiler[0]} is not on the PATH.", advice)
    source = "#include <optional>\n#include <thread>\nint main() { return std::optional<int>(0).value(); }\n"
    with tempfile.TemporaryDirectory() as folder:
        command = [*compiler, "-std=c++17", "-x", "c++", "-", "-o", f"{folder}/probe"]
        compiled = subprocess.run(command, input=source, text=True, capture_output=True, check=False)
    if compiled.returncode:
        said = compiled.stderr.strip() or f"exit status {compiled.returncode}"
        raise SetupError(f"the C++ compiler {compiler[0]} does not compile C++17:\n{said}", advice)


def is_usable_environment() -> bool:
    """Tell whether .venv is a working environment of a new enough Python, made at this very place."""
    try:
        made_by = (ENVIRONMENT / "pyvenv.cfg").read_text()
    except OSError:
        return False
    # Its scripts hold absolute paths: one that was copied or moved here with the checkout is no good.
    if f"-m venv {Path.cwd() / ENVIRONMENT}\n" not in made_by and f"-m venv {ENVIRONMENT}\n" not in made_by:
        return False
    probe = [str(PYTHON), "-c", "import pip, sys; sys.exit(sys.version_info < (3, 11))"]
    try:
        return subprocess.run(probe, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def link_trio() -> None:
    """Make a folder that holds nothing but trio, whose types mypy then prefers to outdated stubs beside it."""
    trio = next(ENVIRONMENT.glob("lib/python3*/site-packages/trio"))
    folder = ENVIRONMENT / "typed"
    folder.mkdir(exist_ok=True)
    link = folder / "trio"
    link.unlink(missing_ok=True)
    link.symlink_to(trio.absolute())


def check_engine() -> None:
    """Load llama.cpp once, in a process of its own.

    Raises SetupError if it does not start, as on a processor that lacks the instructions it was built for.
    """
    load = [str(PYTHON), "-c", "import llama_cpp"]
    loaded = subprocess.run(load, text=True, capture_output=True, check=False)
    if loaded.returncode < 0:
        raise SetupError(
            f"llama.cpp ended by signal {-loaded.returncode} when it was loaded.",
            "On x86 the processor must have AVX2, FMA and F16C (nearly all have, since 2015), and a virtual"
            " machine must pass them on.",
        )
    if loaded.returncode:
        raise SetupError(
            f"llama.cpp was installed and cannot be loaded:\n{loaded.stderr.strip()}",
            "Remove everything with 'make clean'.",
        )


def run_step(number: int, title: str, *commands: list[str]) -> None:
    """Run the first command, and where it fails the next one.

    Raises SetupError with the end of the last one's output and advice if none succeeds.
    """
    print(f"[{number}/{STEPS}] {title}", flush=True)
    lines: list[str] = []
    for command in commands:
        status, lines = run(command)
        if status == 0:
            return
        if re.search(COMPILATION_FAILED, "".join(lines)):
            break
    output = "".join(lines)
    advice = next((advice for pattern, advice in ADVICE if re.search(pattern, output)), "Mend that.")
    end = "".join(f"  | {line}" for line in lines[-15:])
    raise SetupError(f"{title}. The end of what was printed, all of which is in {LOG}:\n{end}", advice)


def run(command: list[str]) -> tuple[int, list[str]]:
    """Run a command, print a line now and then meanwhile, and give its exit status and the lines it printed."""
    began = time.monotonic()
    lines: list[str] = []
    with (
        LOG.open("a") as log,
        subprocess.Popen(
            command,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process,
    ):
        log.write(f"$ {shlex.join(command)}\n")

        def read() -> None:
            for line in process.stdout or ():
                lines.append(line)
                log.write(line)
                log.flush()

        reader = threading.Thread(target=read)
        reader.start()
        try:
            while reader.is_alive():
                reader.join(SECONDS_BETWEEN_SIGNS_OF_LIFE)
                if reader.is_alive():
                    print(f"      {clock(time.monotonic() - began)}  {activity(list(lines))}", flush=True)
        except KeyboardInterrupt:
            process.terminate()
            raise
    return process.returncode, lines


def activity(lines: list[str]) -> str:
    """Say, from what uv has printed so far, what it is at."""
    started = [package for line in lines for package in re.findall(r"^ +Building (\S+)", line)]
    ended = {package for line in lines for package in re.findall(r"^ +Built (\S+)", line)}
    building = [package for package in started if package not in ended]
    if building:
        return f"compiling {', '.join(building)}"
    return lines[-1].strip() if lines else "waiting for an answer"


def environment() -> dict[str, str]:
    """Give the environment of the installers: ours, and pip's settings under the names that uv knows."""
    found = dict(os.environ)
    for name, value in pip_settings():
        variable = UV_NAMES_OF_PIP_SETTINGS.get(name)
        if variable and variable not in os.environ:
            found[variable] = ",".join(value.split()) if name == "find-links" else value
    return found


def pip_settings() -> Iterator[tuple[str, str]]:
    """List pip's settings as name and value, of its files and variables, the stronger ones later."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "list"],
        text=True,
        capture_output=True,
        check=False,
    )
    settings = re.findall(r"^(global|install|:env:)\.([\w-]+)=(.*)$", listed.stdout, re.MULTILINE)
    for section in ("global", "install", ":env:"):
        for where, name, value in settings:
            if where == section:
                yield name, str(ast.literal_eval(value))


def clock(seconds: float) -> str:
    """Write a duration as minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


if __name__ == "__main__":
    sys.exit(main())
