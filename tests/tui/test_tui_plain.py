"""Text from the network in a terminal."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tui.lines import Piece, Span, cropped, line, strip_of, text_of, width_of
from tui.plain import cut_middle, fit, plain, wrapped

any_text = st.text(st.characters(exclude_categories=[]), max_size=60)


@given(any_text)
def test_nothing_that_a_terminal_obeys_is_left(text: str) -> None:
    shown = plain(text)
    assert not {unicodedata.category(sign) for sign in shown} & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    assert plain(shown) == shown


def test_ordinary_names_stay_as_they_are() -> None:
    for name in ("tally-base + tally-times", "[red]bold[/red]", "[link=file:///]x[/link]", "日本語-3b", "นิ้ว"):
        assert plain(name) == unicodedata.normalize("NFC", name)


def test_controls_are_shown_instead_of_obeyed() -> None:
    assert plain("a\x1b[2Jb") == "a␛[2Jb"
    assert plain("a\r\nb\tc") == "a␍␊b␉c"
    assert plain("\u202egnp.exe\u2066") == "�gnp.exe�"
    assert plain("a\u200bb\x9b1m") == "a�b�1m"


def test_towers_of_marks_are_cut_down() -> None:
    tower = "a" + "\u0321" * 40
    assert len(plain(tower)) <= 3
    assert plain("\u0301x") == "x"


@given(any_text, st.integers(0, 50), st.booleans())
def test_a_cell_has_exactly_its_width(text: str, width: int, right: bool) -> None:
    assert cell_len(fit(text, width, right=right)) == width


@given(any_text, st.integers(0, 50))
def test_a_cut_name_keeps_both_ends_and_fits(text: str, width: int) -> None:
    cut = cut_middle(text, width)
    assert cell_len(cut) <= width
    if text.isascii() and text.isprintable() and width >= 5:
        assert cut == text or (text.startswith(cut.split("…")[0]) and text.endswith(cut.split("…")[-1]))


@given(any_text, st.integers(2, 40), st.integers(2, 40), st.integers(1, 5))
def test_wrapped_lines_fit(text: str, width: int, first: int, most: int) -> None:
    lines = wrapped(text, width, first=first, most=most)
    assert 1 <= len(lines) <= most
    assert cell_len(lines[0]) <= max(width, first)
    assert all(cell_len(part) <= width for part in lines[1:])


@given(st.text(st.characters(categories=["L", "N"], max_codepoint=0x24F), max_size=30), st.integers(8, 40))
def test_wrapping_loses_no_letters(text: str, width: int) -> None:
    assert "".join(wrapped(text, width, most=99)) == plain(text)


@given(st.lists(any_text, max_size=5), st.integers(1, 60))
def test_cropped_lines_fit(texts: list[str], width: int) -> None:
    content = line(*texts)
    shown = cropped(content, width)
    assert width_of(shown) <= width
    if width_of(content) <= width:
        assert shown == content


def test_a_strip_leaves_out_the_unimportant_first() -> None:
    pieces = [Piece((Span("aaaa"),), 2), Piece((Span("bb"),), 0), Piece((Span("cc"),), 1)]
    assert text_of(strip_of(pieces, 20, gap=" ")) == "aaaa bb cc"
    assert text_of(strip_of(pieces, 9, gap=" ")) == "bb cc"
    assert text_of(strip_of(pieces, 4, gap=" ")) == "bb"
    assert text_of(strip_of(pieces, 1, gap=" ")) == "…"
