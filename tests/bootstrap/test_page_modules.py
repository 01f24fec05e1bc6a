"""Laws of the page's modules, run in the browser: parsing of events, numbers in words, changes between boards."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from playwright.sync_api import Browser, Page

from tests.bootstrap.board_server import BoardServer, board_rows


@pytest.fixture(scope="module")
def page(chromium: Browser) -> Iterator[Page]:
    server = BoardServer()
    server.start()
    page = chromium.new_page()
    page.goto(server.url + "/404")
    yield page
    page.close()
    server.stop()


def call(page: Page, module: str, expression: str, *arguments: Any) -> Any:
    """Value of an expression over the module's exports `m` and the arguments `a`."""
    script = f"async (a) => {{ const m = await import('/js/{module}.js'); return {expression}; }}"
    return page.evaluate(script, list(arguments))


words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)
events = st.lists(st.tuples(st.sampled_from(["", "status", "activity"]), words.filter(bool)), max_size=5)


@settings(max_examples=60, deadline=None)
@given(
    events=events,
    line_end=st.sampled_from(["\n", "\r\n", "\r"]),
    cuts=st.lists(st.integers(0, 400), max_size=6),
    broken=words,
)
def test_events_are_the_same_however_the_bytes_arrive(
    page: Page, events: list[tuple[str, str]], line_end: str, cuts: list[int], broken: str
) -> None:
    lines = []
    for name, data in events:
        lines += [": alive", f"ignored: {broken}"]
        if name:
            lines.append(f"event: {name}")
        lines += [f"data: {data}", f"data:{data}" if not data.startswith(" ") else "data", ""]
    text = line_end.join(lines) + line_end * 2
    places = sorted({min(cut, len(text)) for cut in cuts})
    chunks = [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]
    # One more line: a final carriage return waits for what may follow it.
    got = call(page, "stream", "((p) => a[0].flatMap((c) => p.push(c)))(new m.EventParser())", [*chunks, ": end\n"])
    wanted = [
        {"name": name or "message", "data": f"{data}\n{'' if data.startswith(' ') else data}"} for name, data in events
    ]
    assert got == wanted


def test_an_endless_event_is_refused(page: Page) -> None:
    attempt = "try { new m.EventParser().push('x'.repeat(5 << 20)); } catch (error) { return error.message; }"
    assert call(page, "stream", f"(() => {{ {attempt} }})()") == "an event is too long"


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ("m.count(-1234567)", "−1,234,567"),
        ("m.count(null)", "–"),
        ("m.score(66.666, 60)", "66.7"),
        ("m.score(66.666, 59)", "67"),
        ("m.score(undefined, 100)", "–"),
        ("m.range(1, 1)", "1"),
        ("m.range(65.6, 73.4)", "66–73"),
        ("m.range(null, 3)", "–"),
        ("m.duration(42.4)", "42 s"),
        ("m.duration(-1)", "0 s"),
        ("m.duration(200)", "3 min 20 s"),
        ("m.duration(7500)", "2 h 5 min"),
        ("m.age(59_000)", "less than a minute old"),
        ("m.age(3 * 3_600_000)", "3 h old"),
        ("m.age(72 * 3_600_000)", "3 days old"),
        ("m.clock('<b>')", "–"),
        ("m.bytes(1834000)", "1.8 MB"),
        ("m.bytes(400)", "1 kB"),
        ("m.plural(1, 'row')", "1 row"),
        ("m.plural(1200, 'row')", "1,200 rows"),
        ("m.questionsAsked(250, 250).join(' ')", "250 all"),
        ("m.verdict('constructor').word", "unknown"),
    ],
)
def test_words(page: Page, expression: str, wanted: str) -> None:
    assert call(page, "words", expression) == wanted


percent = st.floats(0, 100).map(lambda value: round(value, 1))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(percent, percent, percent), min_size=1, max_size=8))
def test_the_axis_holds_every_value_on_few_even_ticks(page: Page, values: list[tuple[float, float, float]]) -> None:
    rows = [{"low": min(v), "score": sorted(v)[1], "high": max(v), "fp_low": None, "fp_high": None} for v in values]
    axis = call(page, "axis", "m.axisFor(a[0])", rows)
    ticks = axis["ticks"]
    assert 0 <= axis["from"] <= min(min(v) for v in values)
    assert max(max(v) for v in values) <= axis["to"] <= 100
    assert axis["to"] - axis["from"] >= 10
    assert 2 <= len(ticks) <= 7
    assert (ticks[0], ticks[-1]) == (axis["from"], axis["to"])
    assert len({b - a for a, b in pairwise(ticks)}) == 1


def test_no_score_needs_no_axis(page: Page) -> None:
    assert call(page, "axis", "m.axisFor([{score: null}])") is None


@given(st.permutations(range(12)))
@settings(max_examples=20, deadline=None)
def test_order_of_arrival_does_not_matter(page: Page, places: list[int]) -> None:
    rows = board_rows()
    shuffled = [rows[place] for place in places]
    order = "[...m.grouped(a[0])].map(([, rows]) => m.sorted(rows, m.sortNamed('rank')).map((row) => row.id))"
    assert call(page, "rows", order, shuffled) == call(page, "rows", order, rows)
    assert call(page, "rows", "m.countChanges(a[0], a[1])", rows, shuffled) == 0


def test_changes_count_new_gone_and_different_rows_once(page: Page) -> None:
    rows = board_rows()
    changed = [rows[0] | {"score": 1.0, "low": 0.0}, *rows[2:], rows[1] | {"id": "ff" * 32}]
    assert call(page, "rows", "m.countChanges(a[0], a[1])", rows, changed) == 3
    later = [row | {"epoch": 99} for row in rows]
    assert call(page, "rows", "m.countChanges(a[0], a[1])", rows, later) == 0


@pytest.mark.parametrize("name", ["rank", "-score", "model"])
def test_names_of_sorts_round_trip(page: Page, name: str) -> None:
    assert call(page, "rows", "m.sortName(m.sortNamed(a[0]))", name) == name


@pytest.mark.parametrize("name", ["", "-", "constructor", "-__proto__", "state"])
def test_unknown_sorts_are_by_rank(page: Page, name: str) -> None:
    assert call(page, "rows", "m.sortName(m.sortNamed(a[0]))", name) == "rank"


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=40))
def test_clean_text_holds_nothing_that_hides(page: Page, text: str) -> None:
    hidden = r"/[\p{C}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/u.test(m.clean(a[0]))"
    assert call(page, "element", hidden, text) is False
    assert call(page, "element", "m.clean(m.clean(a[0])) === m.clean(a[0])", text) is True
