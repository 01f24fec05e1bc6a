"""numpy's library for linear algebra: OpenBLAS, in numpy's wheels."""

import ctypes
import functools
import importlib
from typing import Any

MOST_UNCOPIED, MOST_RESULTS = 1_000_000, 1200
"""Its limits for small products: multiplications, and numbers that come out."""
FEW_ROWS = 24
"""Up to which a product is cut into such."""
_WITH_SMALL_PRODUCTS = frozenset({b"SkylakeX", b"Cooperlake", b"Sapphirerapids"})


@functools.cache
def takes_small_products() -> bool:
    """Whether it multiplies small matrices as they lie, without copying them first: with AVX-512 alone."""
    name = _function("scipy_openblas_get_corename64_")
    if name is None:
        return False
    name.restype = ctypes.c_char_p
    return name() in _WITH_SMALL_PRODUCTS


def use_one_thread() -> None:
    """Has it leave threads to us: its own would wait in a loop beside llama.cpp's.

    Evaluators are started with `OPENBLAS_NUM_THREADS=1`; elsewhere numpy has been imported long ago.
    """
    set_threads = _function("scipy_openblas_set_num_threads64_")
    if set_threads is not None:
        set_threads(1)


def _function(name: str) -> Any:
    """One of the library's own functions; None in a numpy that was built with another."""
    return getattr(ctypes.CDLL(importlib.import_module("numpy._core._multiarray_umath").__file__), name, None)
