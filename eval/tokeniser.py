"""Token ids of texts: as llama.cpp makes them, and line by line where that comes to the same and is quicker.

A prompt is asked for again with each of its choices behind it, and begins as every other prompt of its benchmark does;
llama.cpp splits all of it into words each time. Most byte-pair vocabularies never join a line's end and a letter that
begins the next: no pattern of theirs for words has a line feed and a letter in one, and none looks back. What comes
before such a place then depends on nothing behind its letter, and what comes behind on nothing before.
"""

import functools
import re
from typing import Any

import numpy as np

from eval.binding import C
from eval.failing import EvaluationError
from eval.header import Header
from protocol.failures import Failure

SEPARATING = frozenset(
    {"gpt-2", "phi-2", "mpt", "olmo", "exaone4", "trillion"}  # ` ?\p{L}+` and its like
    | {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"}  # digits first, then these
    | {"llama3", "llama-v3", "llama-bpe", "falcon3", "lfm2", "dbrx", "smaug-bpe", "glm4"}  # `[^\r\n\p{L}\p{N}]?\p{L}+`
    | {"qwen2", "deepseek-r1-qwen", "megrez", "stablelm2", "hunyuan", "grok-2", "solar-open", "qwen35"}
)
"""Pre-tokenisers, by `tokenizer.ggml.pre`, whose words never hold a line feed and a letter.

From the patterns in `llama_tokenizer_bpe` (llama.cpp's `src/llama-vocab.cpp`).
"""

_LINE_START = re.compile(r"(?<=\n)(?=[A-Za-z])")
_TAKES_LINE_START = re.compile(rb"[A-Za-z]|[^\n]*\n")
_KEPT_LINES, _KEPT_BEGINNINGS = 1024, 64
_USER_DEFINED = 4
MOST_USER_DEFINED = 1024

Ids = tuple[int, ...]


class Tokeniser:
    """A vocabulary at work; `header` is the header of its file, without which every text is taken as a whole."""

    def __init__(self, vocabulary: Any, header: Header | None = None) -> None:
        self._vocabulary = vocabulary
        self._adds_eos: bool = C.llama_vocab_get_add_eos(vocabulary)
        self._eos: int = C.llama_vocab_eos(vocabulary)
        self.by_lines = header is not None and self._separates_lines(header)
        self._line = functools.lru_cache(_KEPT_LINES)(self._made_line)
        self._beginning = functools.lru_cache(_KEPT_BEGINNINGS)(self._made_beginning)

    def tokens(self, text: str) -> list[int]:
        """Token ids of `text` as a prompt: with the model's start token where it uses one, never an end token.

        Text that spells a control token is text: questions are data.
        """
        last = _last_line(text) if self.by_lines else 0
        if not last:
            return self._made(text, start=True)
        return [*self._beginning(text[:last], text[last]), *self._made(text[last:], start=False)]

    def _made_beginning(self, text: str, letter: str) -> Ids:
        """The tokens of lines before one that begins with `letter`."""
        lines = _LINE_START.split(text)
        following = [*(line[0] for line in lines[1:]), letter]
        found: list[int] = []
        for place, (line, first) in enumerate(zip(lines, following, strict=True)):
            found += self._line(line, first, not place)
        return tuple(found)

    def _made_line(self, line: str, letter: str, start: bool) -> Ids:
        """A line's tokens before `letter`: spaces at its end are divided by what follows."""
        together = self._made(line + letter, start=start)
        return tuple(together[: len(together) - len(self._made(letter, start=False))])

    def _made(self, text: str, *, start: bool) -> list[int]:
        data = text.encode()
        capacity = len(data) + 8
        buffer = (C.llama_token * capacity)()
        count = C.llama_tokenize(self._vocabulary, data, len(data), buffer, capacity, start, False)
        if count < 0:
            raise EvaluationError(Failure.MODEL_REFUSED, "the vocabulary makes more tokens than the text has bytes")
        ids = list(buffer[:count])
        if start and self._adds_eos and ids and ids[-1] == self._eos:
            ids.pop()
        return ids

    def _separates_lines(self, header: Header) -> bool:
        """Whether patterns keep lines apart, and no token of the user's own changes that.

        Such tokens are found in the text before any pattern: one with a line feed may join lines, and one that begins
        with a letter ends the text before it, whose line feeds then stay together.
        """
        kind = header.metadata.get("tokenizer.ggml.model"), header.metadata.get("tokenizer.ggml.pre")
        types = header.token_types[: C.llama_vocab_n_tokens(self._vocabulary)]
        added: list[int] = np.flatnonzero(types == _USER_DEFINED).tolist()
        return (
            kind[0] == "gpt2"
            and kind[1] in SEPARATING
            and len(added) <= MOST_USER_DEFINED
            and not any(_TAKES_LINE_START.match(C.llama_vocab_get_text(self._vocabulary, token)) for token in added)
        )


def _last_line(text: str) -> int:
    """Where the last line lies that begins with a letter behind a line feed; 0 where there is none."""
    end = len(text)
    while (feed := text.rfind("\n", 0, end)) >= 0:
        if _LINE_START.match(text, feed + 1):
            return feed + 1
        end = feed
    return 0
