"""Texts become the same tokens line by line as they do whole, for every vocabulary that is said to keep lines apart."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from eval import tokeniser
from eval.header import read_header
from eval.model import LoadedModel
from eval.tokeniser import SEPARATING, Tokeniser
from tests.eval.tiny_models import SHAPE, byte_alphabet, described_llama, gguf_bytes, llama_tensors

FEED, RETURN, SPACE, TAB = (byte_alphabet()[ord(letter)] for letter in "\n\r \t")
PAIRS = [
    *((FEED, letter) for letter in ("Q", "A", "t", FEED)),
    (FEED + FEED, "Q"),
    (FEED + FEED, FEED),
    (FEED, SPACE),
    (RETURN, FEED),
    *((SPACE, other) for other in (SPACE, FEED, "Q", "t", "1", "'")),
    (SPACE + SPACE, FEED),
    *((left, FEED) for left in (".", ":", "1", "A", TAB)),
    ("." + FEED, FEED),
    ("Q", ":"),
    ("A", ":"),
    ("A:", SPACE),
    *(("'", letter) for letter in "stm"),
    ("l", "l"),
    ("'", "ll"),
    ("1", "2"),
    ("12", "1"),
    ("t", "h"),
    ("th", "e"),
    (SPACE + "t", "he"),
    ("h", "e"),
]
PIECES = [
    *("\n", "\n\n", "\r\n", " ", "  ", "\t", "\v", "\0", "\x85", "\xa0", "\u2028", "\u3000", "\u0301"),
    *("Q", "A", "Q:", "A: ", "the", " the", "'s", "'LL", "'", "1", "12", "121", "²", "é", "日", "ß", "🙂"),
    *(".", "!", "-", "/", "_", "[", "<tool>", "<s>", "<end>", "ll"),
]
TEXTS = st.lists(st.one_of(st.sampled_from(PIECES), st.characters(codec="utf-8")), max_size=40).map("".join)


class Twins(NamedTuple):
    """A model that takes texts as they are, and the same one with its header."""

    whole: LoadedModel
    lines: LoadedModel


def written(path: Path, pre: str, *, added: Sequence[str] = ("<tool>",), **more: Any) -> Path:
    """A model whose vocabulary has merges across line ends, spaces, digits and letters, and user-defined tokens."""
    merged = list(dict.fromkeys("".join(pair) for pair in PAIRS))
    tokens = ["<unk>", "<s>", "</s>", *byte_alphabet(), *merged, *added]
    types = [2, 3, 3, *[1] * (256 + len(merged)), *[4] * len(added)]
    metadata = described_llama(SHAPE, 256, tokens, types, [" ".join(pair) for pair in PAIRS])
    metadata |= {"tokenizer.ggml.pre": pre} | more
    matrix = np.zeros((len(tokens), SHAPE.embedding), np.float16)
    tensors = llama_tensors() | {"token_embd.weight": matrix, "output.weight": matrix}
    path.write_bytes(gguf_bytes(metadata, tensors))
    return path


def loaded(path: Path) -> Twins:
    return Twins(LoadedModel(path, weights=False), LoadedModel(path, weights=False, header=read_header(path)))


def by_lines(twins: Twins) -> bool:
    return twins.lines.tokeniser.by_lines


@pytest.fixture(scope="module")
def separating(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Twins]]:
    folder = tmp_path_factory.mktemp("vocabularies")
    with ExitStack() as stack:
        found = {}
        for pre in sorted(SEPARATING):
            found[pre] = loaded(written(folder / f"{pre}.gguf", pre))
            for model in found[pre]:
                stack.enter_context(model)
        yield found


def test_vocabularies_that_keep_lines_apart_are_taken_line_by_line(separating: dict[str, Twins]) -> None:
    assert all(map(by_lines, separating.values()))
    assert not any(twins.whole.tokeniser.by_lines for twins in separating.values())


@given(TEXTS)
@example("")
@example("\nQ")
@example("Q: the\n\nA: 12\r\nQ's\n \n\nthe<tool>\nA")
def test_line_by_line_they_make_the_same_tokens(separating: dict[str, Twins], text: str) -> None:
    for pre, twins in separating.items():
        assert twins.lines.tokens(text) == twins.whole.tokens(text), pre


@given(TEXTS, st.lists(TEXTS, min_size=2, max_size=4))
def test_what_is_kept_of_one_text_serves_another(separating: dict[str, Twins], start: str, ends: list[str]) -> None:
    twins = separating["smollm"]
    for end in ends:
        assert twins.lines.tokens(start + end) == twins.whole.tokens(start + end)


@pytest.mark.parametrize("pre", ["default", "superbpe", "deepseek-coder", "falcon", "tekken", "poro-chat"])
def test_other_vocabularies_are_asked_for_whole_texts(tmp_path: Path, pre: str) -> None:
    whole, lines = twins = loaded(written(tmp_path / "model.gguf", pre))
    with whole, lines:
        assert not by_lines(twins)
        assert lines.tokens("Q\nA") == whole.tokens("Q\nA")


def test_a_vocabulary_that_joins_lines_would_be_noticed_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokeniser, "SEPARATING", {"superbpe"})
    whole, lines = loaded(written(tmp_path / "model.gguf", "superbpe"))
    with whole, lines:
        assert lines.tokens("Q\nA") != whole.tokens("Q\nA"), "a merge across the line's end"


@pytest.mark.parametrize(
    "added",
    [["<two\nlines>"], ["\n"], ["\nQ"], ["<tool>", "Qx"], ["<a>"] * (tokeniser.MOST_USER_DEFINED + 1)],
    ids=["two lines", "line feed", "line feed and letter", "letter first", "too many to look at"],
)
def test_tokens_of_its_own_that_reach_into_line_starts_have_texts_taken_whole(tmp_path: Path, added: list[str]) -> None:
    names = [name if name.count("<a>") == 0 else f"<a{number}>" for number, name in enumerate(added)]
    whole, lines = twins = loaded(written(tmp_path / "model.gguf", "gpt-2", added=names))
    with whole, lines:
        assert not by_lines(twins)
        text = "Q\nQ<two\nlines>\nA\n\nQx"
        assert lines.tokens(text) == whole.tokens(text)


@pytest.mark.parametrize("adds", [True, False])
def test_starts_and_ends_are_those_of_the_whole_text(tmp_path: Path, adds: bool) -> None:
    more: dict[str, Any] = {"tokenizer.ggml.add_bos_token": adds, "tokenizer.ggml.add_eos_token": adds}
    whole, lines = twins = loaded(written(tmp_path / "model.gguf", "gpt-2", **more))
    with whole, lines:
        assert by_lines(twins)
        for text in ("", "Q", "Q\nA", "\nQ", "\n"):
            found = lines.tokens(text)
            assert found == whole.tokens(text)
            assert (found[:1] == [1]) == adds
            assert 2 not in found


def test_a_header_with_more_types_than_the_vocabulary_has_tokens_is_no_harm(tmp_path: Path) -> None:
    path = written(tmp_path / "model.gguf", "gpt-2")
    header = read_header(path)
    more = replace(header, token_types=np.append(header.token_types, [4, 4]).astype(np.int32))
    with LoadedModel(path, weights=False) as model:
        assert Tokeniser(model.vocabulary, more).by_lines


@pytest.mark.parametrize(("key", "value"), [("pre", 7), ("pre", (1, 2)), ("model", "llama"), ("model", 7)])
def test_a_header_that_says_anything_else_separates_nothing(tmp_path: Path, key: str, value: Any) -> None:
    path = written(tmp_path / "model.gguf", "gpt-2")
    header = read_header(path)
    odd = replace(header, metadata={**header.metadata, f"tokenizer.ggml.{key}": value})
    with LoadedModel(path, weights=False) as model:
        assert not Tokeniser(model.vocabulary, odd).by_lines
