"""The two modes of evaluation, and how each lays out the cache.

*fast*: one unified cache, as many questions at once as pay. Logits depend a little on what else is in the batch, never
on anything outside it. Where everything is read in large batches, which is choices on processors, attention comes in
blocks (flash attention); in small batches, and on graphics cards in all, llama.cpp's blocks add values up in F16, the
worse the longer the prompt, so that it is plain there (docs/decisions/0022). On processors large products are numpy's
(`eval.products`, docs/decisions/0024).

*reproducible*: a question's log-probabilities, tokens and fingerprint are the same bits alone, beside other questions,
in any order and after any others, on one machine and build. Where each row of the model's matrix products is computed
by itself (`eval.backends.rows_alone`), that takes a cache of its own for every sequence and attention that is not cut
into blocks; elsewhere one question at a time on an empty cache.
"""

from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

FAST: Literal["fast"] = "fast"
REPRODUCIBLE: Literal["reproducible"] = "reproducible"
Mode = Literal["fast", "reproducible"]
AUTO: Literal["auto"] = "auto"
CPU: Literal["cpu"] = "cpu"
Wanted = Literal["auto", "cpu"]
"""What an owner can have evaluations computed on: the best there is, or the processor alone."""


class Layout(Struct, frozen=True):
    """`unified`: all sequences share one cache and the cells of common beginnings; else each has cells of its own.

    `flash`: attention in blocks, which skips what others have in the cache. `alone`: one question at a time, and
    nothing shared between questions. `coupled`: a token may belong to several sequences as it is decoded, so that
    choices that begin alike are decoded as a tree (`eval.branches`). `products`: batches' products with weights come
    from `eval.products`.
    """

    unified: bool
    flash: bool
    alone: bool
    coupled: bool = False
    products: bool = False

    @property
    def label(self) -> str:
        """A few words for people and records."""
        cache = "unified" if self.unified else "split"
        flash = "flash attention" if self.flash else "plain attention"
        others = (" / one at a time" if self.alone else "") + (" / products in f32" if self.products else "")
        return f"{cache} cache f16 / {flash}{others}"


TOGETHER = Layout(unified=True, flash=True, alone=False, coupled=True)
TOGETHER_PLAIN = Layout(unified=True, flash=False, alone=False, coupled=True)
SPLIT = Layout(unified=False, flash=False, alone=False)
ALONE = Layout(unified=True, flash=False, alone=True)


def layout(mode: Mode, *, rows_alone: bool, blocks: bool, recurrent: bool, products: bool = False) -> Layout:
    """What a mode sets for a model and what is asked of it.

    `rows_alone`: whether a product's row never depends on how many there are. `blocks`: whether attention in blocks is
    as exact as plain attention. `recurrent`: whether layers keep one state of a sequence instead of a cell for each
    token; llama.cpp does not decode tokens of several sequences with these. `products`: whether `eval.products` is to
    be had.
    """
    if mode == FAST:
        return replace(TOGETHER if blocks else TOGETHER_PLAIN, coupled=not recurrent, products=products)
    return SPLIT if rows_alone else ALONE
