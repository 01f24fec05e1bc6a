"""Products of matrices with many rows, computed by numpy's library for linear algebra in 32-bit floats.

llama.cpp's kernels are made for single tokens: of a large batch they compute each number by itself, at a third of the
speed of a good product of 32-bit matrices, which uses all that the processor at hand can do. So a batch's weights are
turned into 32-bit floats, a tile at a time, and multiplied by numpy. What is multiplied with them is not rounded to 8
bits first, as on graphics cards: results lie as far from the kernels' as those of two builds from each other
(docs/fingerprint.md).

For llama.cpp this is a backend of its own, like its BLAS backend, that knows one operation; all else stays with its own
code for processors. A context that is made while it is `offered` uses it for as long as it lives.
"""

import ctypes
import functools
import importlib
import platform
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval import ggml
from eval.header import Header

FEWEST_ROWS = 32
"""With fewer it takes longer to convert the weights than to multiply with them as they are (llama.cpp's own limit)."""
FLOAT_BYTES = 4
TILE_VALUES = 1 << 20  # a thread's: smaller tiles, which stay in the cache until they are used, gain nothing
WORTH_SHARING = 1 << 24  # multiplications: a tenth of a millisecond's work, as long as another thread takes to begin
_PACKED_BYTES = 8 << 20  # a thread's, in which the library puts what it multiplies in order
_SHORTEST = 32
_WIDEST = TILE_VALUES // _SHORTEST
_NAME, _DESCRIPTION = b"products", b"numpy's matrix products"
_PROCESSORS = frozenset({"x86_64", "amd64"})  # measured on these alone; ARM has kernels for 8-bit integers
_OPERATION = ggml.Tensor.op.offset
_CREATION = threading.Lock()
_VIEWS = ("NONE", "RESHAPE", "VIEW", "PERMUTE", "TRANSPOSE")

Matrix = NDArray[np.float32]


@functools.cache
def available() -> bool:
    """Whether this processor gains by it, and the engine's build can be given a backend."""
    return platform.machine().lower() in _PROCESSORS and ggml.speaks_this()


def bytes_taken(header: Header, threads: int) -> int:
    """Memory that so many threads take for the products with a model's weights, beside the batches' own."""
    largest = max((FLOAT_BYTES * tensor.elements for tensor in header.tensors), default=0)
    return threads * (min(largest, FLOAT_BYTES * TILE_VALUES) + min(largest, _PACKED_BYTES))


@contextmanager
def offered() -> Iterator[None]:
    """Within the block a new context of llama.cpp takes its large products from here: one block at a time, not nested.

    Needs `available`.
    """
    library, registration = ggml.functions(), _Accelerator.only().registration
    with _CREATION:
        library.ggml_backend_register(ctypes.addressof(registration))
        try:
            yield
        finally:
            library.ggml_backend_unload(ctypes.addressof(registration))


def raise_what_failed() -> None:
    """Raises what went wrong in this thread while llama.cpp called: its own answer need not tell, or be right."""
    _Accelerator.only().raise_what_failed()


class _Backend:
    """What one context computes with: as many threads as the context has."""

    def __init__(self, accelerator: "_Accelerator") -> None:
        self.structure = ggml.Backend(
            guid=ctypes.addressof(accelerator.guid),
            get_name=accelerator.named,
            free=accelerator.freed,
            graph_compute=accelerator.computed,
            device=ctypes.addressof(accelerator.device),
        )
        self._threads = 1
        self._pool: ThreadPoolExecutor | None = None
        self._own = threading.local()

    def set_threads(self, threads: int) -> None:
        """How many threads a product is computed by."""
        if threads != self._threads:
            self.close()
            self._threads = threads
            self._pool = ThreadPoolExecutor(threads - 1, "products") if threads > 1 else None

    def multiply(self, node: ggml.Tensor) -> None:
        """Computes one product: its rows are those of the second source, its columns the first's rows."""
        weights, values = ggml.Tensor.from_address(node.src[0]), ggml.Tensor.from_address(node.src[1])
        inputs, outputs, rows = weights.ne[0], weights.ne[1], values.ne[1]
        left = _matrix(values.data, rows, inputs)
        result = _matrix(node.data, rows, outputs)
        pool = self._pool if rows * inputs * outputs >= WORTH_SHARING else None
        step = max(_SHORTEST, min(TILE_VALUES // inputs, -(-outputs // self._threads) if pool else outputs))
        starts = iter(range(0, outputs, step))
        taking = threading.Lock()

        # Weights may be anything; logits that are no numbers are refused where they are read.
        @np.errstate(all="ignore")
        def work() -> None:
            while True:
                with taking:
                    start = next(starts, None)
                if start is None:
                    return
                stop = min(start + step, outputs)
                np.matmul(left, self._converted(weights, start, stop).T, out=result[:, start:stop])

        others = [pool.submit(work) for _ in range(self._threads - 1)] if pool else []
        try:
            work()
        finally:
            wait(others)  # none may write into a result that is no longer there
        for other in others:
            other.result()

    def _converted(self, weights: ggml.Tensor, start: int, stop: int) -> Matrix:
        """Rows of the weights as floats, in a place of this thread's that the next tile takes."""
        inputs = weights.ne[0]
        address = weights.data + start * weights.nb[1]
        if weights.type == ggml.F32:
            return _matrix(address, stop - start, inputs)
        needed = (stop - start) * inputs
        tile: Matrix | None = getattr(self._own, "tile", None)
        if tile is None or tile.size < needed:
            tile = self._own.tile = np.empty(needed, np.float32)
        _to_float(weights.type)(address, tile.ctypes.data, needed)
        return tile[:needed].reshape(stop - start, inputs)

    def close(self) -> None:
        """Ends the threads."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None


class _Accelerator:
    """The one device of this backend, its registration, and the functions that ggml calls.

    What such a function raises never reaches whoever called ggml, and ctypes answers with whatever lies in memory. So
    everything is caught, kept for its thread and raised behind the call (`raise_what_failed`); what happens before a
    function begins, such as memory running out over its arguments, is heard through `sys.unraisablehook`.
    """

    def __init__(self) -> None:
        _use_one_thread()
        self._backends: dict[int, _Backend] = {}
        self._failed = threading.local()
        self._others_hear = sys.unraisablehook
        sys.unraisablehook = self._hear
        operations = ggml.operations()
        self._product = operations["MUL_MAT"]
        self._views = frozenset(operations[name] for name in _VIEWS)
        self._buffers = ggml.functions().ggml_backend_cpu_buffer_type()
        self.guid = ctypes.create_string_buffer(b"peerboardproduct", 16)
        self._name, self._described = ctypes.c_char_p(_NAME), ctypes.c_char_p(_DESCRIPTION)
        name = ctypes.cast(self._name, ggml.Pointer).value
        description = ctypes.cast(self._described, ggml.Pointer).value
        self.named = ggml.Named(lambda _: name)
        self.freed = ggml.Freed(self._free)
        self.computed = ggml.Computed(self._compute)
        self._threaded = ggml.Threaded(self._set_threads)
        threaded = ctypes.cast(self._threaded, ggml.Pointer).value
        self.device = ggml.BackendDevice(
            get_name=self.named,
            get_description=ggml.Named(lambda _: description),
            get_memory=ggml.Memory(_no_memory),
            get_type=ggml.Typed(lambda _: ggml.ACCELERATOR),
            get_props=ggml.Described(_describe),
            init_backend=ggml.Begun(self._begin),
            get_buffer_type=ggml.Named(lambda _: self._buffers),
            supports_op=ggml.Supported(self._supports),
            supports_buft=ggml.Supported(lambda _, buffers: ggml.functions().ggml_backend_buft_is_host(buffers)),
        )
        self.registration = ggml.Registration(
            api_version=ggml.INTERFACE_VERSION,
            get_name=self.named,
            get_device_count=ggml.Counted(lambda _: 1),
            get_device=ggml.Listed(lambda _, __: ctypes.addressof(self.device)),
            get_proc_address=ggml.Found(lambda _, name: threaded if name == b"ggml_backend_set_n_threads" else None),
        )
        self.device.reg = ctypes.addressof(self.registration)

    @staticmethod
    @functools.cache
    def only() -> "_Accelerator":
        """The process's one: ggml keeps pointers to it."""
        return _Accelerator()

    def _begin(self, _device: int, _parameters: bytes) -> int:
        backend = _Backend(self)
        address = ctypes.addressof(backend.structure)
        self._backends[address] = backend
        return address

    def _free(self, address: int) -> None:
        self._backends.pop(address).close()

    def _set_threads(self, address: int, threads: int) -> None:
        self._backends[address].set_threads(threads)

    def raise_what_failed(self) -> None:
        """Raises what was kept for this thread, once."""
        error = self._failed.__dict__.pop("error", None)
        if error is not None:
            raise error

    def _hear(self, lost: "sys.UnraisableHookArgs") -> None:
        if "ctypes callback" in (lost.err_msg or ""):
            self._failed.error = lost.exc_value or MemoryError()
        self._others_hear(lost)

    def _supports(self, _device: int, address: int) -> bool:
        try:
            return self._is_ours(address)
        except BaseException as error:
            self._failed.error = error
            return False

    def _is_ours(self, address: int) -> bool:
        operation = ctypes.c_int.from_address(address + _OPERATION).value
        if operation != self._product:  # nearly always, and ggml asks a thousand times a batch
            return operation in self._views
        node = ggml.Tensor.from_address(address)
        if node.ne[1] < FEWEST_ROWS or node.ne[0] < _SHORTEST or node.op_params[1]:
            return False
        weights, values = ggml.Tensor.from_address(node.src[0]), ggml.Tensor.from_address(node.src[1])
        if values.type != ggml.F32 or not _SHORTEST <= weights.ne[0] <= _WIDEST:
            return False
        if weights.type != ggml.F32 and _to_float(weights.type) is None:
            return False
        return _is_matrix(weights) and _is_matrix(values)

    def _compute(self, backend: int, graph: int) -> int:
        try:
            library = ggml.functions()
            for place in range(library.ggml_graph_n_nodes(graph)):
                node = ggml.Tensor.from_address(library.ggml_graph_node(graph, place))
                if node.op == self._product and node.flags & ggml.IS_COMPUTED:
                    self._backends[backend].multiply(node)
                elif node.op not in (self._product, *self._views):
                    return ggml.FAILED
        except BaseException as error:
            self._failed.error = error
            return ggml.FAILED
        return ggml.SUCCESS


def _use_one_thread() -> None:
    """Has numpy's library leave threads to us: its own would wait in a loop beside llama.cpp's.

    Evaluators are started with `OPENBLAS_NUM_THREADS=1`; elsewhere numpy has been imported long ago.
    """
    library = ctypes.CDLL(importlib.import_module("numpy._core._multiarray_umath").__file__)
    set_threads = getattr(library, "scipy_openblas_set_num_threads64_", None)
    if set_threads is not None:
        set_threads(1)


def _is_matrix(tensor: ggml.Tensor) -> bool:
    """Whether its rows lie one behind the other, and there are no more dimensions."""
    if tensor.ne[2] != 1 or tensor.ne[3] != 1:
        return False
    kind = _traits(tensor.type)
    return bool(tensor.nb[0] == kind[0] and tensor.nb[1] == kind[0] * (tensor.ne[0] // kind[1]))


@functools.cache
def _traits(kind: int) -> tuple[int, int]:
    """Bytes of a block of weights of this type, and how many weights it has."""
    traits = ggml.functions().ggml_get_type_traits(kind).contents
    return traits.type_size, traits.block_size


@functools.cache
def _to_float(kind: int) -> Any:
    """ggml's function that turns weights of a type into floats; None where it has none."""
    address = ggml.functions().ggml_get_type_traits(kind).contents.to_float
    return ggml.ToFloat(address) if address else None


def _matrix(address: int, rows: int, columns: int) -> Matrix:
    floats = (ctypes.c_float * (rows * columns)).from_address(address)
    return np.frombuffer(memoryview(floats), np.float32).reshape(rows, columns)


def _no_memory(_device: int, free: Any, total: Any) -> None:
    free[0] = total[0] = 0


def _describe(_device: int, properties: Any) -> None:
    found = properties.contents
    found.name, found.description, found.type = _NAME, _DESCRIPTION, ggml.ACCELERATOR
    found.memory_free = found.memory_total = 0
    found.device_id = None
    found.caps = ggml.Capabilities(False, False, False, False, True)
