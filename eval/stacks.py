"""Small stacks for threads that llama.cpp starts by the hundred.

It checks weights in a thread for each tensor, all at once. Eight megabytes of stack for each are never touched, but
they count against the bounded address space of a child (`eval.confinement`), where a model with some hundred tensors
then had no room left. glibc alone has such stacks and a way to ask for others; elsewhere nothing is done.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

STACK_BYTES = 128 << 10
_ATTRIBUTES_BYTES = 128  # of `pthread_attr_t`, with room to spare
_libc = ctypes.CDLL(None)


@contextmanager
def small_stacks() -> Iterator[None]:
    """Threads that are started within the block, and name no size themselves, have a stack of `STACK_BYTES`."""
    before = stack_bytes()
    if before:
        _set(min(STACK_BYTES, before))
    try:
        yield
    finally:
        if before:
            _set(before)


def stack_bytes() -> int:
    """The stack that a new thread gets; 0 where that cannot be told."""
    attributes, size = ctypes.create_string_buffer(_ATTRIBUTES_BYTES), ctypes.c_size_t()
    if not hasattr(_libc, "pthread_getattr_default_np") or _libc.pthread_getattr_default_np(attributes):
        return 0
    _libc.pthread_attr_getstacksize(attributes, ctypes.byref(size))
    _libc.pthread_attr_destroy(attributes)
    return size.value


def _set(size: int) -> None:
    attributes = ctypes.create_string_buffer(_ATTRIBUTES_BYTES)
    _libc.pthread_attr_init(attributes)
    _libc.pthread_attr_setstacksize(attributes, ctypes.c_size_t(size))
    _libc.pthread_setattr_default_np(attributes)
    _libc.pthread_attr_destroy(attributes)
