"""Byte-level byte-pair encoding (Sennrich et al. 2016, in GPT-2's form), made from the training questions.

The files carry it as `tokenizer.ggml.model = gpt2`, `pre = smollm`: every digit is a token of its own, words take their
leading space with them. Only ASCII text is split as llama.cpp splits it, and the questions are ASCII.
"""

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Sequence

SPECIAL_TOKENS = ("<unk>", "<s>", "</s>")
UNKNOWN, BEGIN, END = range(3)
_PIECE = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?[A-Za-z]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+")


def _byte_alphabet() -> dict[int, str]:
    """GPT-2's printable character for each byte: itself where printable, else one from U+0100 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + place) for place, byte in enumerate(rest)}


_ALPHABET = _byte_alphabet()


def split_pieces(text: str) -> list[str]:
    """The pieces within which pairs are merged. Digits first, each alone; the rest between them by GPT-2's pattern."""
    pieces: list[str] = []
    for part in re.split("([0-9])", text):
        pieces += [part] if part.isdigit() else _PIECE.findall(part)
    return pieces


class BytePairs:
    """A vocabulary: special tokens, the 256 bytes, then one token per merge, in the order of the merges."""

    def __init__(self, merges: Sequence[tuple[str, str]]) -> None:
        self.merges = tuple(merges)
        self.tokens = (*SPECIAL_TOKENS, *(_ALPHABET[byte] for byte in range(256)), *(a + b for a, b in merges))
        if len(set(self.tokens)) != len(self.tokens):
            raise ValueError("two merges give the same token: llama.cpp aborts on such a vocabulary")
        self._ids = {token: number for number, token in enumerate(self.tokens)}
        self._ranks = {pair: rank for rank, pair in enumerate(merges)}
        self._known: dict[str, tuple[int, ...]] = {}

    def encode(self, text: str) -> list[int]:
        """Token ids of ASCII text, without a begin token."""
        return [token for piece in split_pieces(text) for token in self._encode_piece(piece)]

    def _encode_piece(self, piece: str) -> tuple[int, ...]:
        if piece in self._known:
            return self._known[piece]
        parts = [_ALPHABET[byte] for byte in piece.encode()]
        while len(parts) > 1:
            pairs = list(itertools.pairwise(parts))
            best = min(range(len(pairs)), key=lambda place: self._ranks.get(pairs[place], len(self.merges)))
            if pairs[best] not in self._ranks:
                break
            parts[best : best + 2] = [parts[best] + parts[best + 1]]
        self._known[piece] = tuple(self._ids[part] for part in parts)
        return self._known[piece]


def learn(texts: Iterable[str], merges: int) -> BytePairs:
    """The vocabulary that `merges` merges of the most frequent pair give (fewer where nothing is left to merge)."""
    counts = Counter(piece for text in texts for piece in split_pieces(text))
    words = [([_ALPHABET[byte] for byte in piece.encode()], count) for piece, count in sorted(counts.items())]
    learned: list[tuple[str, str]] = []
    tokens = set(_ALPHABET.values())
    while len(learned) < merges:
        pairs: Counter[tuple[str, str]] = Counter()
        for parts, count in words:
            for pair in itertools.pairwise(parts):
                pairs[pair] += count
        new = [pair for pair in pairs if "".join(pair) not in tokens]
        if not new:
            break
        chosen = max(new, key=lambda pair: (pairs[pair], pair))
        learned.append(chosen)
        tokens.add("".join(chosen))
        for parts, _ in words:
            _merge(parts, chosen)
    return BytePairs(learned)


def _merge(parts: list[str], pair: tuple[str, str]) -> None:
    place = 0
    while place < len(parts) - 1:
        if (parts[place], parts[place + 1]) == pair:
            parts[place : place + 2] = ["".join(pair)]
        place += 1
