"""The two modes of evaluation, and how each lays out the cache.

*fast*: one unified cache with flash attention, as many questions at once as pay. Logits depend a little on what else
is in the batch, never on anything outside it. On graphics cards attention is plain: llama.cpp's blocks add values up in
F16 there, which fingerprints of F16 files would show as another model's (docs/decisions/0022).

*reproducible*: a question's log-probabilities, tokens and fingerprint are the same bits alone, beside other questions,
in any order and after any others, on one machine and build. Where each row of the model's matrix products is computed
by itself (`eval.backends.rows_alone`), that takes a cache of its own for every sequence and attention that is not cut
into blocks; elsewhere one question at a time on an empty cache.
"""

from typing import Literal

from msgspec import Struct

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
    nothing shared between questions.
    """

    unified: bool
    flash: bool
    alone: bool

    @property
    def label(self) -> str:
        """A few words for people and records."""
        cache = "unified" if self.unified else "split"
        flash = "flash attention" if self.flash else "plain attention"
        return f"{cache} cache f16 / {flash}" + (" / one at a time" if self.alone else "")


TOGETHER = Layout(unified=True, flash=True, alone=False)
TOGETHER_ON_CARD = Layout(unified=True, flash=False, alone=False)
SPLIT = Layout(unified=False, flash=False, alone=False)
ALONE = Layout(unified=True, flash=False, alone=True)


def layout(mode: Mode, *, rows_alone: bool, on_card: bool = False) -> Layout:
    """What a mode sets for a model; `rows_alone`: whether a product's row never depends on how many there are."""
    if mode == FAST:
        return TOGETHER_ON_CARD if on_card else TOGETHER
    return SPLIT if rows_alone else ALONE
