"""What a hostile name may do to a terminal: nothing."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerboard.safe_text import cells, cut_end, cut_middle, safe

HOSTILE = st.text(st.one_of(st.characters(), st.sampled_from("\x1b\x9b\x9d[]m;\x07\u202e\u2066\u200b\u0301\n\r字")))


@pytest.mark.parametrize(
    ("given_text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[2J\x1b[1;1Hgone", "gone"),
        ("\x9b31mred", "red"),
        ("\x1b]0;title\x07name", "name"),
        ("\x1b]8;;http://evil.example\x1b\\click\x1b]8;;\x1b\\", "click"),
        ("\x1b]0;never ends", ""),
        ("model\u202egpj.exe", "modelgpj.exe"),
        ("a\u2066b\u2069c\u200bd\ufeffe\u061cf", "abcdef"),
        ("two\nlines\r\tand\u2028more", "two lines  and more"),
        ("e\u0301\u0301\u0301\u0301\u0301", "e\u0301\u0301"),
        ("モデル-3b é", "モデル-3b é"),
        ("\ud800x", "x"),
    ],
)
def test_what_would_act_on_the_terminal_is_gone_and_the_rest_stays(given_text: str, shown: str) -> None:
    assert safe(given_text) == shown


@given(HOSTILE)
def test_nothing_hidden_remains_and_cleaning_twice_changes_nothing(text: str) -> None:
    cleaned = safe(text)
    assert not {unicodedata.category(character) for character in cleaned} & {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
    assert safe(cleaned) == cleaned


@given(st.text(st.characters(exclude_categories=["C"])))
def test_text_without_controls_and_marks_is_left_alone(text: str) -> None:
    plain = "".join(character for character in text if unicodedata.category(character) not in {"Mn", "Me", "Zl", "Zp"})
    assert safe(plain) == plain


@given(HOSTILE, st.integers(0, 40))
def test_a_cut_text_fits(text: str, width: int) -> None:
    cleaned = safe(text)
    assert cells(cut_middle(cleaned, width)) <= width
    assert cells(cut_end(cleaned, width)) <= width


def test_names_lose_their_middle() -> None:
    assert cut_middle("organisation-model-3b-instruct", 13) == "organi…struct"
    assert cut_middle("short", 5) == "short"
    assert cut_middle("模型模型模型", 6) == "模…型"


def test_east_asian_characters_take_two_cells() -> None:
    assert cells("字a") == 3
    assert cells("e\u0301") == 1
