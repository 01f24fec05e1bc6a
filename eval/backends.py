"""What llama.cpp computes on: the devices that its build knows and finds here.

The build of llama-cpp-python decides (docs/install.md): one for CPUs has only these, one for CUDA or Metal finds the
graphics cards, too. Asking touches the card's driver: do it in a process that will not fork.
"""

import ctypes
import functools
import platform
from enum import IntEnum

from msgspec import Struct

from eval.binding import C, built_with, declared, hardware_class
from eval.header import Header
from eval.modes import AUTO, CPU, Wanted
from eval.weights import WEIGHT_TYPES

_NAMES = {"mtl": "metal"}
_ROWS_ALONE = frozenset({"x86_64", "amd64"})  # ARM's int8 kernels take rows in pairs
# Eight rows and more of the others (K-quants, most IQ types) are multiplied in tiles, which add up in another order.
_UNTILED = frozenset({"F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "IQ4_NL"})


class Kind(IntEnum):
    """`enum ggml_backend_dev_type`."""

    CPU = 0
    GPU = 1
    INTEGRATED = 2
    ACCELERATOR = 3
    META = 4


class Device(Struct, frozen=True):
    """A processor or a card: `backend` such as `cpu`, `cuda` or `metal`, its maker's name for it, bytes of memory."""

    backend: str
    kind: Kind
    name: str
    free: int
    total: int

    @property
    def is_gpu(self) -> bool:
        """Whether layers of a model can be put on it."""
        return self.kind in (Kind.GPU, Kind.INTEGRATED)


@functools.cache
def _library() -> ctypes.CDLL:
    """The functions of ggml-backend.h that llama-cpp-python does not declare."""
    pointer, size, text = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p
    sizes = ctypes.POINTER(size)
    return declared(
        ("ggml_backend_dev_count", size, []),
        ("ggml_backend_dev_get", pointer, [size]),
        ("ggml_backend_dev_type", ctypes.c_int, [pointer]),
        ("ggml_backend_dev_description", text, [pointer]),
        ("ggml_backend_dev_memory", None, [pointer, sizes, sizes]),
        ("ggml_backend_dev_backend_reg", pointer, [pointer]),
        ("ggml_backend_reg_name", text, [pointer]),
    )


def devices() -> tuple[Device, ...]:
    """All devices that the engine's build can use on this machine, the processor among them."""
    library = _library()
    return tuple(_device(library, library.ggml_backend_dev_get(place)) for place in range(_count(library)))


def _count(library: ctypes.CDLL) -> int:
    return int(library.ggml_backend_dev_count())


def _device(library: ctypes.CDLL, handle: int) -> Device:
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    library.ggml_backend_dev_memory(handle, ctypes.byref(free), ctypes.byref(total))
    registered = library.ggml_backend_reg_name(library.ggml_backend_dev_backend_reg(handle)).decode().lower()
    return Device(
        _NAMES.get(registered, registered),
        Kind(library.ggml_backend_dev_type(handle)),
        library.ggml_backend_dev_description(handle).decode("utf-8", "replace"),
        free.value,
        total.value,
    )


def card(wanted: Wanted = AUTO) -> Device | None:
    """The graphics card that models go to, or None where there is none, or none is wanted."""
    if wanted == CPU or not C.llama_supports_gpu_offload():
        return None
    return next((device for device in devices() if device.is_gpu), None)


def hardware(device: Device | None) -> str:
    """A coarse class for results, such as `cpu-avx2` or `cuda+cpu-avx2`: never a machine's exact hardware."""
    return hardware_class() if device is None else f"{device.backend}+{hardware_class()}"


def rows_alone(device: Device | None, header: Header) -> bool:
    """Whether each row of the model's matrix products is computed as if it were the only one (`eval.modes`).

    That depends on the processor, the types of weights in the file, and the build: llamafile's products, which are
    llama.cpp's own default, leave single rows to other kernels than several.
    """
    kinds = {WEIGHT_TYPES[tensor.weight_type].name for tensor in header.tensors}
    processor = device is None and platform.machine().lower() in _ROWS_ALONE and not built_with("LLAMAFILE")
    return processor and kinds <= _UNTILED
