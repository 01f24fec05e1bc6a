"""Products of matrices, but for those of single rows, computed by numpy's library for linear algebra in 32-bit floats.

llama.cpp's kernels are made for single tokens: of a large batch they compute each number by itself, at a third of the
speed of a good product of 32-bit matrices, which uses all that the processor at hand can do. So a batch's weights are
turned into 32-bit floats, a tile at a time, and multiplied by numpy. What is multiplied with them is not rounded to 8
bits first, as on graphics cards: results lie as far from the kernels' as those of two builds from each other
(docs/fingerprint.md). Which are taken, and how they are computed: `eval.weight_products`, `eval.cache_products`.

For llama.cpp this is a backend of its own, like its BLAS backend, that knows one operation; all else stays with its own
code for processors. A context that is made while it is `offered` uses it for as long as it lives.
"""

import ctypes
import functools
import platform
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from eval import blas, cache_products, ggml, weight_products
from eval.cache_products import FEWEST_ROWS, Heads
from eval.header import Header
from eval.team import FLOAT_BYTES, Team, Values, converts, values_at
from eval.weight_products import Weights, thread_bytes

_NAME, _DESCRIPTION = b"products", b"numpy's matrix products"
_PROCESSORS = frozenset({"x86_64", "amd64"})  # measured on these alone; ARM has kernels for 8-bit integers
_OPERATION = ggml.Tensor.op.offset
_CREATION = threading.Lock()
_VIEWS = ("NONE", "RESHAPE", "VIEW", "PERMUTE", "TRANSPOSE")


@functools.cache
def available() -> bool:
    """Whether this processor gains by it, and the engine's build can be given a backend."""
    return platform.machine().lower() in _PROCESSORS and ggml.speaks_this()


def bytes_taken(header: Header, threads: int) -> int:
    """Memory that so many threads take for the products with a model's weights, beside the batches' own."""
    return threads * thread_bytes(max((tensor.elements for tensor in header.tensors), default=0))


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
        self.team = Team(1)

    def set_threads(self, threads: int) -> None:
        """How many threads a product is computed by."""
        if threads != self.team.threads:
            self.team.close()
            self.team = Team(threads)

    def multiply(self, node: ggml.Tensor) -> None:
        """Computes one product: its rows are those of the second source, its columns the first's rows."""
        left, right = ggml.Tensor.from_address(node.src[0]), ggml.Tensor.from_address(node.src[1])
        inputs, outputs, rows = left.ne[0], left.ne[1], right.ne[1]
        result = values_at(node.data, rows * outputs * node.ne[2])
        if node.ne[2] == 1:
            weights = Weights(left.type, left.data, left.nb[1], inputs, outputs)
            given = values_at(right.data, rows * inputs).reshape(rows, inputs)
            weight_products.multiply(self.team, weights, given, result.reshape(rows, outputs))
        else:
            heads = _heads(left)
            group = right.ne[2] // heads.heads
            cache_products.multiply(
                self.team, heads, _queries(right, group), result.reshape(heads.heads, group, rows, outputs)
            )


class _Accelerator:
    """The one device of this backend, its registration, and the functions that ggml calls.

    What such a function raises never reaches whoever called ggml, and ctypes answers with whatever lies in memory. So
    everything is caught, kept for its thread and raised behind the call (`raise_what_failed`); what happens before a
    function begins, such as memory running out over its arguments, is heard through `sys.unraisablehook`.
    """

    def __init__(self) -> None:
        blas.use_one_thread()
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
        self._backends.pop(address).team.close()

    def _set_threads(self, address: int, threads: int) -> None:
        try:
            self._backends[address].set_threads(threads)
        except BaseException as error:  # a thread that cannot be had
            self._failed.error = error

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
        rows = node.ne[1]
        if rows < FEWEST_ROWS or node.op_params[1] or node.ne[3] != 1:
            return False
        left, right = ggml.Tensor.from_address(node.src[0]), ggml.Tensor.from_address(node.src[1])
        if right.type != ggml.F32 or right.nb[0] != FLOAT_BYTES:
            return False
        if right.ne[2] > 1:
            return _is_of_heads(left, right) and cache_products.worth_it(_heads(left), rows)
        if not weight_products.worth_it(left.type, left.ne[0], left.ne[1], rows) or not converts(left.type):
            return False
        return _is_matrix(left) and _is_matrix(right)

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


def _is_of_heads(left: ggml.Tensor, right: ggml.Tensor) -> bool:
    """Whether these are keys or values in F16, and what is multiplied with them."""
    return bool(
        left.type == ggml.F16
        and left.nb[0] == ggml.F16_BYTES
        and right.ne[2] % left.ne[2] == 0
        and right.ne[3] == left.ne[3] == 1
        and not any(stride % FLOAT_BYTES for stride in right.nb[1:3])
        and not any(stride % ggml.F16_BYTES for stride in left.nb[1:3])
    )


def _heads(tensor: ggml.Tensor) -> Heads:
    inputs, outputs, heads = tensor.ne[:3]
    return Heads(tensor.data, heads, outputs, inputs, head_bytes=tensor.nb[2], row_bytes=tensor.nb[1])


def _queries(tensor: ggml.Tensor, group: int) -> Values:
    """What is multiplied with keys or values: (heads, group, rows, inputs), wherever its rows lie."""
    inputs, rows, heads = tensor.ne[:3]
    row_bytes, head_bytes = tensor.nb[1:3]
    count = (head_bytes * (heads - 1) + row_bytes * (rows - 1)) // FLOAT_BYTES + inputs
    strides = (group * head_bytes, head_bytes, row_bytes, FLOAT_BYTES)
    return np.ndarray((heads // group, group, rows, inputs), np.float32, values_at(tensor.data, count), 0, strides)


def _no_memory(_device: int, free: Any, total: Any) -> None:
    free[0] = total[0] = 0


def _describe(_device: int, properties: Any) -> None:
    found = properties.contents
    found.name, found.description, found.type = _NAME, _DESCRIPTION, ggml.ACCELERATOR
    found.memory_free = found.memory_total = 0
    found.device_id = None
    found.caps = ggml.Capabilities(False, False, False, False, True)
