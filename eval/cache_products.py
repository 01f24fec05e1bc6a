"""Products of rows with what the cache holds for each head: queries with keys, and their weights with values.

What a row may not look at is computed too and left out afterwards, as llama.cpp does. Keys lie cell by cell, each with
all heads; values head by head, each with all cells. In both the outermost dimension is cut into tiles, which become
32-bit floats with all between their first and last value.
"""

import numpy as np
from msgspec import Struct

from eval import blas, ggml
from eval.blas import FEW_ROWS, MOST_RESULTS, MOST_UNCOPIED
from eval.team import FLOAT_BYTES, TILE_VALUES, Team, Values

FEWEST_ROWS = 8
_MORE_ROWS = 16  # where OpenBLAS copies small matrices, too
_LEAST_WORK = 1 << 20  # multiplications
_MOST_BETWEEN = 2  # times as many values as are used are converted, at most
_LEAST_WIDTH = 8


class Heads(Struct, frozen=True):
    """Keys or values in F16 as they lie in memory: of each of `heads` `outputs` rows of `inputs` numbers."""

    address: int
    heads: int
    outputs: int
    inputs: int
    head_bytes: int
    row_bytes: int

    @property
    def by_head(self) -> bool:
        """Whether heads are the outermost dimension; else rows are."""
        return self.head_bytes >= self.row_bytes

    def values(self, heads: int, outputs: int) -> int:
        """How many values lie between the first and the last of the first so many heads and rows, both included."""
        ahead = (heads - 1) * self.head_bytes + (outputs - 1) * self.row_bytes
        return ahead // ggml.F16_BYTES + self.inputs


def worth_it(heads: Heads, rows: int) -> bool:
    """Whether products with that many rows a head are quicker here than by llama.cpp's kernels."""
    used = heads.heads * heads.outputs * heads.inputs
    return (
        rows >= (FEWEST_ROWS if blas.takes_small_products() else _MORE_ROWS)
        and rows * used >= _LEAST_WORK
        and heads.values(heads.heads, heads.outputs) <= _MOST_BETWEEN * used
        and (heads.values(1, heads.outputs) if heads.by_head else heads.values(heads.heads, 1)) <= TILE_VALUES
    )


def multiply(team: Team, heads: Heads, rows: Values, result: Values) -> None:
    """Puts the products into `result` (heads, group, count, outputs).

    `rows` have the shape (heads, group, count, inputs): as many heads of queries look at one of keys as a group has.
    """
    outer, inner = (heads.heads, heads.outputs) if heads.by_head else (heads.outputs, heads.heads)
    outer_bytes = heads.head_bytes if heads.by_head else heads.row_bytes
    step = max(1, min(TILE_VALUES * ggml.F16_BYTES // outer_bytes, -(-outer // team.threads)))
    starts = iter(range(0, outer, step))  # one at a time, to whichever thread asks
    strides = tuple(FLOAT_BYTES * size // ggml.F16_BYTES for size in (heads.head_bytes, heads.row_bytes))

    def work() -> None:
        for start in starts:
            count = min(step, outer - start)
            shape = (count, inner) if heads.by_head else (inner, count)
            taken = team.floats(ggml.F16, heads.address + start * outer_bytes, heads.values(*shape))
            tile = np.ndarray((*shape, heads.inputs), np.float32, taken, 0, (*strides, FLOAT_BYTES))
            part = slice(start, start + count)
            if heads.by_head:
                _multiply(tile, rows[part], result[part])
            else:
                _multiply(tile, rows, result[..., part])

    team.share(work)


def _multiply(tile: Values, rows: Values, result: Values) -> None:
    """Puts products of rows with a tile's (heads, outputs, inputs) into `result`.

    Of a few rows OpenBLAS takes small products at once, and copies what it multiplies for larger ones: those are cut.
    """
    heads, outputs, inputs = tile.shape
    group, count = rows.shape[1:3]
    width = min(MOST_UNCOPIED // (count * inputs), MOST_RESULTS // count)
    length = MOST_UNCOPIED // (count * outputs) if count * outputs <= MOST_RESULTS else 0
    across = tile.transpose(0, 2, 1)[:, None]
    if count > FEW_ROWS or width >= outputs or max(width, length) < _LEAST_WIDTH:
        np.matmul(rows, across, out=result)
    elif length:
        even = inputs // length * length
        cut = rows[..., :even].reshape(heads, group, count, -1, length).transpose(0, 1, 3, 2, 4)
        stack = tile[..., :even].reshape(heads, 1, outputs, -1, length).transpose(0, 1, 3, 4, 2)
        np.matmul(cut, stack).sum(axis=2, out=result)
        if even < inputs:
            result += np.matmul(rows[..., even:], across[..., even:, :])
    else:
        even = outputs // width * width
        stack = tile[:, :even].reshape(heads, 1, -1, width, inputs).transpose(0, 1, 2, 4, 3)
        into = result[..., :even].reshape(heads, group, count, -1, width).transpose(0, 1, 3, 2, 4)
        np.matmul(rows[:, :, None], stack, out=into)
        np.matmul(rows, across[..., even:], out=result[..., even:])
