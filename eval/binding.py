"""llama.cpp's C interface, loaded once per process in the one way that evaluations need.

The environment comes first: without `OMP_WAIT_POLICY=PASSIVE` two evaluators on one machine spin each other 80 times
slower, and without `GGML_NO_BACKTRACE` an abort starts a debugger. Graphics cards' libraries add products of F16
weights in F16 unless told otherwise, which moves fingerprints nearly as far as a Q8_0 cache does (docs/fingerprint.md).
The package `llama_cpp` would import its high-level half too (chat templates, caches, servers: a quarter of a second);
only its module of C declarations is wanted here.
"""

import ctypes
import importlib
import importlib.metadata
import importlib.util
import os
import sys
import types
from collections import deque
from collections.abc import Sequence
from typing import Any

_ENVIRONMENT = {"GGML_NO_BACKTRACE": "1", "OMP_WAIT_POLICY": "PASSIVE"}
_SUMS = {"GGML_CUDA_CUBLAS_COMPUTE_TYPE": "F32"}  # whatever the owner's own variables say: fingerprints depend on it
_KEPT_LOG_LINES = 20
_LEVEL_WARNING = 3
_LEVEL_CONTINUED = 5


def _declarations() -> Any:
    """The module `llama_cpp.llama_cpp`, without the package's own initialisation where nobody asked for it."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    os.environ.update(_SUMS)
    if "llama_cpp" in sys.modules:
        return importlib.import_module("llama_cpp.llama_cpp")
    specification = importlib.util.find_spec("llama_cpp")
    if specification is None or specification.submodule_search_locations is None:
        raise ImportError("llama-cpp-python is not installed: `make setup` builds it")
    bare = types.ModuleType("llama_cpp")
    bare.__path__ = list(specification.submodule_search_locations)
    sys.modules["llama_cpp"] = bare
    try:
        return importlib.import_module("llama_cpp.llama_cpp")
    finally:
        del sys.modules["llama_cpp"]  # whoever imports the package later gets all of it


C = _declarations()
"""The C functions and structures, under the names that `llama.h` gives them."""

_log: deque[str] = deque(maxlen=_KEPT_LOG_LINES)
_listeners: list["Heard"] = []


@C.llama_log_callback  # type: ignore[untyped-decorator, unused-ignore]
def _keep(level: int, text: bytes, _user_data: object) -> None:
    line = text.decode("utf-8", "replace").strip()
    for listener in _listeners:
        listener.lines.append(line)
    if line and level >= _LEVEL_WARNING:
        if level == _LEVEL_CONTINUED and _log:
            _log[-1] += " " + line
        elif level != _LEVEL_CONTINUED:
            _log.append(line)


C.llama_log_set(_keep, ctypes.c_void_p(0))
C.llama_backend_init()


Declaration = tuple[str, Any, Sequence[Any]]
"""A C function's name, the type of its result and those of its arguments."""


def declared(*functions: Declaration) -> ctypes.CDLL:
    """The engine's library, with types for functions that llama-cpp-python does not declare.

    It is the copy that llama.cpp itself has loaded: a second one would have a registry of devices of its own. Raises
    `AttributeError` where it has no such function.
    """
    library: ctypes.CDLL = C._lib
    for name, result, arguments in functions:
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class Heard:
    """Everything that llama.cpp says within a block, of every level; `lines` holds it afterwards, too."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __enter__(self) -> "Heard":
        C.llama_log_set(_keep, ctypes.c_void_p(0))  # whoever imports the high-level half takes the log for itself
        _listeners.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        _listeners.remove(self)


def last_words(lines: int = 2) -> str:
    """What llama.cpp said last, warnings and errors only, for the detail of a failure."""
    return "; ".join(list(_log)[-lines:])


def forget_words() -> None:
    """Starts afresh, so that `last_words` speaks of what comes now."""
    _log.clear()


def engine_label() -> str:
    """Name and release of the engine, as results record it."""
    return f"llama-cpp-python {importlib.metadata.version('llama-cpp-python')}"


def built_with(feature: str) -> bool:
    """Whether the engine's build for processors uses a set of instructions or a library, by llama.cpp's name for it."""
    return f" {feature} = 1 " in C.llama_print_system_info().decode("ascii", "replace")


def hardware_class() -> str:
    """A coarse class of instruction set such as `cpu-avx2`: never a machine's exact hardware."""
    for feature, label in (("AVX512", "avx512"), ("AVX2", "avx2"), ("AVX", "avx"), ("SVE", "sve"), ("NEON", "neon")):
        if built_with(feature):
            return f"cpu-{label}"
    return "cpu"
