"""The part of ggml's inner interface that a backend is made of, as C structures.

These are the structures of `ggml-backend-impl.h`, interface version 2, and of `ggml_tensor`. llama-cpp-python declares
none of them. A library loaded at run time relies on the same layout, so that ggml carries the version with it:
`speaks_this` compares it, and the tensor's size, with the engine that is loaded. Versions were not always raised when
they should have been, so that the release has to be one that was tried, too.
"""

import ctypes
import functools
import importlib.metadata

from eval.binding import declared

INTERFACE_VERSION = 2
RELEASES = frozenset({"0.3.36"})
"""Of llama-cpp-python, whose structures are these."""
SUCCESS, FAILED = 0, -1
ACCELERATOR = 3
F32, F16, Q8_0, Q4_K, Q5_K, BF16 = 0, 1, 8, 12, 13, 30
F16_BYTES = 2
IS_COMPUTED = 16
_DIMENSIONS, _SOURCES, _PARAMETERS, _NAME_BYTES = 4, 10, 16, 64
_OBJECT_BYTES = 32

Pointer = ctypes.c_void_p


class Tensor(ctypes.Structure):
    """`ggml_tensor`: `ne` are numbers of elements, `nb` strides in bytes, the innermost dimension first."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("buffer", Pointer),
        ("ne", ctypes.c_int64 * _DIMENSIONS),
        ("nb", ctypes.c_size_t * _DIMENSIONS),
        ("op", ctypes.c_int),
        ("op_params", ctypes.c_int32 * _PARAMETERS),
        ("flags", ctypes.c_int32),
        ("src", Pointer * _SOURCES),
        ("view_src", Pointer),
        ("view_offs", ctypes.c_size_t),
        ("data", Pointer),
        ("name", ctypes.c_char * _NAME_BYTES),
        ("extra", Pointer),
        ("padding", ctypes.c_char * 8),
    )


class TypeTraits(ctypes.Structure):
    """`ggml_type_traits`: of a type of weights."""

    _fields_ = (
        ("type_name", ctypes.c_char_p),
        ("block_size", ctypes.c_int64),
        ("block_size_interleave", ctypes.c_int64),
        ("type_size", ctypes.c_size_t),
        ("is_quantized", ctypes.c_bool),
        ("to_float", Pointer),
        ("from_float_ref", Pointer),
    )


class Capabilities(ctypes.Structure):
    """`ggml_backend_dev_caps`."""

    _fields_ = tuple(
        (name, ctypes.c_bool) for name in ("async_", "host_buffer", "buffer_from_host_ptr", "events", "mmap_support")
    )


class DeviceProperties(ctypes.Structure):
    """`ggml_backend_dev_props`."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("description", ctypes.c_char_p),
        ("memory_free", ctypes.c_size_t),
        ("memory_total", ctypes.c_size_t),
        ("type", ctypes.c_int),
        ("device_id", ctypes.c_char_p),
        ("caps", Capabilities),
    )


Named = ctypes.CFUNCTYPE(Pointer, Pointer)
Freed = ctypes.CFUNCTYPE(None, Pointer)
Computed = ctypes.CFUNCTYPE(ctypes.c_int, Pointer, Pointer)
Memory = ctypes.CFUNCTYPE(None, Pointer, ctypes.POINTER(ctypes.c_size_t), ctypes.POINTER(ctypes.c_size_t))
Typed = ctypes.CFUNCTYPE(ctypes.c_int, Pointer)
Described = ctypes.CFUNCTYPE(None, Pointer, ctypes.POINTER(DeviceProperties))
Begun = ctypes.CFUNCTYPE(Pointer, Pointer, ctypes.c_char_p)
Supported = ctypes.CFUNCTYPE(ctypes.c_bool, Pointer, Pointer)
Counted = ctypes.CFUNCTYPE(ctypes.c_size_t, Pointer)
Listed = ctypes.CFUNCTYPE(Pointer, Pointer, ctypes.c_size_t)
Found = ctypes.CFUNCTYPE(Pointer, Pointer, ctypes.c_char_p)
Threaded = ctypes.CFUNCTYPE(None, Pointer, ctypes.c_int)
ToFloat = ctypes.CFUNCTYPE(None, Pointer, Pointer, ctypes.c_int64)


def _optional(*names: str) -> tuple[tuple[str, type[Pointer]], ...]:
    return tuple((name, Pointer) for name in names)


class Backend(ctypes.Structure):
    """`ggml_backend` with its `ggml_backend_i`."""

    _fields_ = (
        ("guid", Pointer),
        ("get_name", Named),
        ("free", Freed),
        *_optional("set_tensor_async", "get_tensor_async", "set_tensor_2d_async", "get_tensor_2d_async"),
        *_optional("cpy_tensor_async", "synchronize"),
        *_optional("graph_plan_create", "graph_plan_free", "graph_plan_update", "graph_plan_compute"),
        ("graph_compute", Computed),
        *_optional("event_record", "event_wait", "graph_optimize"),
        ("device", Pointer),
        ("context", Pointer),
    )


class BackendDevice(ctypes.Structure):
    """`ggml_backend_device` with its `ggml_backend_device_i`."""

    _fields_ = (
        ("get_name", Named),
        ("get_description", Named),
        ("get_memory", Memory),
        ("get_type", Typed),
        ("get_props", Described),
        ("init_backend", Begun),
        ("get_buffer_type", Named),
        *_optional("get_host_buffer_type", "buffer_from_host_ptr"),
        ("supports_op", Supported),
        ("supports_buft", Supported),
        *_optional("offload_op", "event_new", "event_free", "event_synchronize"),
        ("reg", Pointer),
        ("context", Pointer),
    )


class Registration(ctypes.Structure):
    """`ggml_backend_reg` with its `ggml_backend_reg_i`."""

    _fields_ = (
        ("api_version", ctypes.c_int),
        ("get_name", Named),
        ("get_device_count", Counted),
        ("get_device", Listed),
        ("get_proc_address", Found),
        ("context", Pointer),
    )


@functools.cache
def functions() -> ctypes.CDLL:
    """ggml's functions that a backend calls, with their types. Raises as `declared` does."""
    text, size = ctypes.c_char_p, ctypes.c_size_t
    return declared(
        ("ggml_backend_register", None, [Pointer]),
        ("ggml_backend_unload", None, [Pointer]),
        ("ggml_backend_cpu_buffer_type", Pointer, []),
        ("ggml_backend_buft_is_host", ctypes.c_bool, [Pointer]),
        ("ggml_backend_reg_by_name", ctypes.POINTER(Registration), [text]),
        ("ggml_graph_n_nodes", ctypes.c_int, [Pointer]),
        ("ggml_graph_node", Pointer, [Pointer, ctypes.c_int]),
        ("ggml_cpu_fp16_to_fp32", None, [Pointer, Pointer, ctypes.c_int64]),
        ("ggml_get_type_traits", ctypes.POINTER(TypeTraits), [ctypes.c_int]),
        ("ggml_op_name", text, [ctypes.c_int]),
        ("ggml_tensor_overhead", size, []),
    )


@functools.cache
def operations() -> dict[str, int]:
    """The numbers of ggml's operations by their names."""
    library = functions()
    found: dict[str, int] = {}
    for number in range(200):
        name = library.ggml_op_name(number)
        found[name.decode()] = number
        if name == b"GLU":
            break
    return found


def speaks_this() -> bool:
    """Whether the engine that is loaded has the interface that is declared here."""
    try:
        library = functions()
    except (OSError, AttributeError):
        return False
    if importlib.metadata.version("llama-cpp-python") not in RELEASES:
        return False
    processor = library.ggml_backend_reg_by_name(b"CPU")
    same = bool(processor) and processor.contents.api_version == INTERFACE_VERSION
    return same and library.ggml_tensor_overhead() == ctypes.sizeof(Tensor) + _OBJECT_BYTES
