"""Products of rows with a matrix of weights, which become 32-bit floats a tile at a time.

numpy's library is made for large matrices and has ways of its own for small ones. So a tile is multiplied in the way
that is quickest for the number of rows (measured with OpenBLAS 0.3.31 and AVX-512): for a few as a stack of products so
small that the library does not copy them first, for some dozens turned over, else as it is. Without AVX-512 it copies
always, and a few rows are left to llama.cpp.
"""

import numpy as np
from msgspec import Struct

from eval import blas, ggml
from eval.blas import FEW_ROWS, MOST_RESULTS, MOST_UNCOPIED
from eval.team import FLOAT_BYTES, TILE_VALUES, Team, Values

FEWEST_ROWS, FEWEST_SMALL = 32, 16
"""From how many rows on it pays to convert weights: in general, and where OpenBLAS has products for small matrices."""
_MORE_SMALL = 24  # the second for weights that ggml takes five times as long to convert
_SOON_CONVERTED = frozenset({ggml.F32, ggml.F16, ggml.BF16, ggml.Q8_0, ggml.Q4_K, ggml.Q5_K})
_SHORTEST = 32
_WIDEST = TILE_VALUES // _SHORTEST
_LEAST_WORK = 1 << 19  # multiplications: some fifty microseconds of llama.cpp's, twice as long as it takes to begin
_WORTH_SHARING = 5_000_000  # a tenth of a millisecond's work, as long as another thread takes to begin
_CONVERSION = 12  # of a weight, in multiplications
_SOME = 96  # rows up to which a tile is turned over, where they are not a few
_LEAST_WIDTH = 4
_PACKED_BYTES = 8 << 20  # in which the library puts what it multiplies in order


class Weights(Struct, frozen=True):
    """A matrix of weights as it lies in memory: `outputs` rows of `inputs` values of a ggml type."""

    kind: int
    address: int
    row_bytes: int
    inputs: int
    outputs: int


def worth_it(kind: int, inputs: int, outputs: int, rows: int) -> bool:
    """Whether a product with weights of this type and size is quicker here than by llama.cpp's kernels."""
    return (
        rows >= fewest_rows(kind)
        and _SHORTEST <= inputs <= _WIDEST
        and outputs >= _SHORTEST
        and rows * inputs * outputs >= _LEAST_WORK
    )


def fewest_rows(kind: int) -> int:
    """Rows from which on it pays to convert weights of this type on the processor at hand."""
    if not blas.takes_small_products():
        return FEWEST_ROWS
    return FEWEST_SMALL if kind in _SOON_CONVERTED else _MORE_SMALL


def thread_bytes(largest: int) -> int:
    """Memory that a thread takes for products with matrices of at most `largest` values, and with the cache."""
    return FLOAT_BYTES * TILE_VALUES + min(FLOAT_BYTES * largest, _PACKED_BYTES)


def multiply(team: Team, weights: Weights, rows: Values, result: Values) -> None:
    """Puts the products of `rows` (count by inputs) and the weights into `result` (count by outputs)."""
    inputs, outputs = weights.inputs, weights.outputs
    count = len(rows)
    alone = inputs * outputs * (count + _CONVERSION) < _WORTH_SHARING
    step = max(_SHORTEST, min(TILE_VALUES // inputs, outputs if alone else -(-outputs // team.threads)))
    turned = np.ascontiguousarray(rows.T) if FEW_ROWS < count <= _SOME else None
    starts = iter(range(0, outputs, step))  # one at a time, to whichever thread asks

    def work() -> None:
        for start in starts:
            stop = min(start + step, outputs)
            address = weights.address + start * weights.row_bytes
            tile = team.floats(weights.kind, address, (stop - start) * inputs).reshape(stop - start, inputs)
            _multiply(tile, rows, turned, result[:, start:stop])

    team.share(work, alone=alone)


def _multiply(tile: Values, rows: Values, turned: Values | None, result: Values) -> None:
    """Puts the products of rows and of a tile's into `result`; `turned` are the rows as columns, if they are to be."""
    count, inputs = rows.shape
    width = min(MOST_UNCOPIED // (count * inputs), MOST_RESULTS // count)
    if turned is not None:
        result[:] = np.matmul(tile, turned).T
    elif count > FEW_ROWS or width < _LEAST_WIDTH:
        np.matmul(rows, tile.T, out=result)
    else:
        even = len(tile) // width * width
        stack = tile[:even].reshape(-1, width, inputs).transpose(0, 2, 1)
        np.matmul(rows, stack, out=result[:, :even].reshape(count, -1, width).transpose(1, 0, 2))
        np.matmul(rows, tile[even:].T, out=result[:, even:])
