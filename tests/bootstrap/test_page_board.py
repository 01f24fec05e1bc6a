"""The board in a real browser: what it shows, how the keyboard moves in it, that it fits and can be read."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.bootstrap.board_server import (
    BENCHMARKS,
    NAMES,
    BoardServer,
    board_row,
    board_rows,
    leaderboard,
    model_id,
    said,
    status,
    task,
)
from tests.bootstrap.conftest import Browse

HOSTILE = '<img src=x onerror="window.broken=1"><script>window.broken=1</script>'
BIDI = "safe\u202egpj.exe\u2066\u200b\x07\x1b[31m"

CONTRASTS = """() => {
  const luminance = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const colour = (text) => text.match(/[\\d.]+/g).map(Number);
  const ground = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const [r, g, b, a = 1] = colour(getComputedStyle(at).backgroundColor);
      if (a === 1) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
    if (!own || !node.checkVisibility() || node.closest("noscript, .unseen, .skip")) continue;
    const look = getComputedStyle(node);
    const ink = luminance(colour(node instanceof SVGElement ? look.fill : look.color));
    const paper = luminance(ground(node));
    const [high, low] = ink > paper ? [ink, paper] : [paper, ink];
    found.push([node.textContent, (high + 0.05) / (low + 0.05)]);
  }
  return found;
}"""


def cells(page: Page, row: int, group: int = 0) -> list[str]:
    line = page.locator("table.board").nth(group).locator("tbody tr").nth(row)
    return [text.strip() for text in line.locator("td").all_inner_texts()]


def names(page: Page) -> list[str]:
    return page.locator("table.board tbody .model-link").all_inner_texts()


def test_a_table_for_each_benchmark_with_ranges_and_states(browse: Browse) -> None:
    page = browse()
    expect(page.get_by_role("table")).to_have_count(len(BENCHMARKS))
    expect(page.locator("caption").first).to_contain_text("tally-choice6 models, 2 could be first")
    first = page.get_by_role("table").first
    expect(first.get_by_role("row")).to_have_count(1 + len(NAMES))
    expect(first.get_by_role("columnheader", name="Rank")).to_have_attribute("aria-sort", "ascending")
    expect(first.locator("[aria-sort]")).to_have_count(1)
    rank, name, score, _, questions, runners, state = cells(page, 1)
    assert rank == "1–3"
    assert name.splitlines()[0] == "tally-base"
    expect(first.locator(".reference").nth(1)).to_have_text("peerboard/demo@a1b2c3d:tally-base.gguf")
    assert score.split() == ["79.6", "95", "%", "range", "71–88"]
    assert questions.split() == ["175", "of", "500"]
    assert (runners, state) == ("4", "final")
    assert cells(page, 3)[-1] == "! disputed"


def test_few_questions_give_whole_grey_points(browse: Browse) -> None:
    page = browse()
    row = page.locator("table.board").first.locator("tbody tr").nth(5)
    expect(row.locator(".score")).to_have_text("33")
    grey = row.locator(".score").evaluate("node => getComputedStyle(node).color")
    assert grey == page.locator(".quiet").first.evaluate("node => getComputedStyle(node).color")


def test_all_rows_of_a_table_share_the_axis(browse: Browse) -> None:
    page = browse()
    table = page.locator("table.board").first
    labels = table.locator(".axis text").all_text_contents()
    assert labels == ["20", "40", "60", "80", "100 %"]
    left, right = (table.locator(".axis text").nth(place).bounding_box() for place in (0, 4))
    assert left is not None
    assert right is not None
    middle_of = {20: left["x"] + left["width"] / 2, 100: right["x"] + right["width"] / 2}
    for index in range(len(NAMES)):
        dot = table.locator(".dot").nth(index).bounding_box()
        assert dot is not None
        score = 91.3 - 11.7 * index
        wanted = middle_of[20] + (score - 20) / 80 * (middle_of[100] - middle_of[20])
        assert dot["x"] + dot["width"] / 2 == pytest.approx(wanted, abs=1.5)


def test_intervals_are_drawn_as_line_and_bar(browse: Browse) -> None:
    page = browse()
    row = page.locator("table.board").first.locator("tbody tr").first
    length = "line => line.x2.baseVal.value - line.x1.baseVal.value"
    thin, thick = (row.locator(kind).evaluate(length) for kind in (".thin", ".thick"))
    assert thin / thick == pytest.approx((99.3 - 82.3) / (94.3 - 87.3), rel=0.01)


def test_the_reader_sorts_and_the_address_remembers(browse: Browse) -> None:
    page = browse()
    button = page.get_by_role("columnheader", name="Model").first.get_by_role("button")
    button.click()
    header = page.get_by_role("columnheader", name="Model").first
    expect(header).to_have_attribute("aria-sort", "ascending")
    assert names(page)[: len(NAMES)] == sorted(NAMES)
    assert page.url.endswith("?sort=model")
    header.get_by_role("button").press("Enter")
    expect(header).to_have_attribute("aria-sort", "descending")
    page.reload()
    expect(page.get_by_role("columnheader", name="Model").first).to_have_attribute("aria-sort", "descending")
    assert names(page)[: len(NAMES)] == sorted(NAMES, reverse=True)


def test_one_benchmark_can_be_chosen(browse: Browse) -> None:
    page = browse()
    page.get_by_label("Benchmark").select_option("tally-words")
    expect(page.locator("table.board")).to_have_count(1)
    expect(page.locator("table.board caption h2")).to_have_text("tally-words")
    assert page.url.endswith("?benchmark=tally-words")
    page.get_by_label("Benchmark").select_option("all")
    expect(page.locator("table.board")).to_have_count(2)


def test_keyboard_searches_moves_and_opens(browse: Browse) -> None:
    page = browse()
    page.keyboard.press("/")
    expect(page.get_by_label("Search")).to_be_focused()
    page.keyboard.type("TALLY times")
    expect(page.locator("table.board tbody tr")).to_have_count(2)
    page.keyboard.press("Escape")
    expect(page.locator("table.board tbody tr")).to_have_count(12)
    page.keyboard.press("ArrowDown")
    links = page.locator("table.board .model-link")
    expect(links.nth(0)).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(links.nth(1)).to_be_focused()
    tied = page.locator("table.board").first.locator("tr.tied .model-link")
    assert tied.all_inner_texts() == ["tally-base + tally-times", "tally-base", "tally-small", "tally-tiny"]
    page.keyboard.press("ArrowUp")
    expect(links.nth(0)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("tally-base + tally-times")
    assert page.url.endswith(f"/model/?id={model_id(0)}")


def test_a_search_without_a_match_says_so_and_offers_the_way_back(browse: Browse) -> None:
    page = browse("/?q=zebra&benchmark=tally-words")
    expect(page.locator("#empty")).to_contain_text("No model matches “zebra” on tally-words.")
    page.get_by_role("button", name="Show all models").click()
    expect(page.locator("table.board")).to_have_count(2)
    assert page.url.endswith("/")


def test_names_from_the_network_are_only_text(browse: Browse, server: BoardServer) -> None:
    rows = [
        board_row(0, name=HOSTILE, model=HOSTILE),
        board_row(1, name=BIDI, id="javascript:alert(1)"),
        board_row(2, name="a" + "\u0301" * 500, status="<b>"),
        board_row(3, benchmark=HOSTILE),
    ]
    server.answers["/v1/leaderboard"] = leaderboard(rows)
    server.answers["/v1/tasks"] = said("tasks", {"epoch": 8, "tasks": [task(0, model=HOSTILE, benchmark=BIDI)]})
    server.answers["/v1/status"] = said("status", status(network={"id": "x", "name": HOSTILE}))
    page = browse()
    for level in ("ok", HOSTILE):
        server.push("activity", {"time": HOSTILE, "level": level, "code": "X", "text": HOSTILE + BIDI, "task": None})
    expect(page.locator("#activity .text")).to_have_count(2)
    expect(page.locator(".model-link").nth(1)).to_have_text(HOSTILE)
    expect(page.locator("caption h2").first).to_have_text(HOSTILE)
    assert page.evaluate("window.broken") is None
    assert page.locator("body img, body script, body a[href^='javascript']").count() == 0
    shown = page.locator("body").inner_text()
    assert "safe\ufffdgpj.exe" in shown
    assert re.search("[\x00-\x08\x0b-\x1f\u200b-\u200f\u202a-\u202e\u2066-\u2069]", shown) is None
    assert "a\u0301\u0301\u0301" not in shown
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_policy_is_in_force(browse: Browse, faults: list[str]) -> None:
    page = browse()
    blocked = page.evaluate(
        """async () => {
          const seen = [];
          const both = new Promise((resolve) => {
            document.addEventListener("securitypolicyviolation", (event) => {
              seen.push(event.effectiveDirective);
              if (seen.length === 2) resolve();
            });
          });
          document.body.setAttribute("style", "color: red");
          await fetch("http://127.0.0.2:9/").catch(() => {});
          await both;
          return seen;
        }"""
    )
    assert sorted(blocked) == ["connect-src", "style-src-attr"]
    assert len(faults) >= 2  # so the other tests would notice
    faults.clear()


@pytest.mark.parametrize("width", [320, 360, 600, 800, 1200])
def test_nothing_is_wider_than_the_window(browse: Browse, server: BoardServer, width: int) -> None:
    rows = board_rows()
    rows[0] |= {"name": "x" * 150, "model": "organisation/" + "y" * 200}
    server.answers["/v1/leaderboard"] = leaderboard(rows)
    page = browse(viewport={"width": width, "height": 740})
    for detail in page.locator("main details summary, aside details summary").all():
        detail.click()
    expect(page.locator("table.board")).to_have_count(2)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_narrow_rows_are_cards_and_still_a_table(browse: Browse) -> None:
    page = browse(viewport={"width": 360, "height": 740})
    row = page.get_by_role("table").first.get_by_role("row").nth(1)
    expect(row.get_by_role("cell")).to_have_count(6)  # the state "final" needs no line of its own
    name, questions = row.locator(".c-model").bounding_box(), row.locator(".c-questions").bounding_box()
    assert name is not None
    assert questions is not None
    assert questions["y"] > name["y"] + name["height"]
    expect(row.locator(".c-questions")).to_have_text("175 of 500 questions")
    disputed = page.get_by_role("table").first.get_by_role("row").nth(4)
    expect(disputed.locator(".c-state")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_text_can_be_read_in_both_schemes(browse: Browse, server: BoardServer, scheme: str, width: int) -> None:
    page = browse(color_scheme=scheme, viewport={"width": width, "height": 740})
    server.push("activity", {"time": "2026-11-21T08:00:00Z", "level": "warn", "code": "X", "text": "a", "task": None})
    expect(page.locator("#activity time")).to_have_count(1)
    for detail in page.locator("details summary").all():
        detail.click()
    page.mouse.move(0, 0)
    page.evaluate("document.getElementById('offline').hidden = false")
    found = page.evaluate(CONTRASTS)
    assert len(found) > 80
    assert [(text, ratio) for text, ratio in found if ratio < 4.5] == []


def test_schemes_differ(browse: Browse) -> None:
    grounds = {
        browse(color_scheme=scheme).evaluate("getComputedStyle(document.body).backgroundColor")
        for scheme in ("light", "dark")
    }
    assert len(grounds) == 2


def test_reduced_motion_leaves_none(browse: Browse) -> None:
    durations = "[...new Set([...document.querySelectorAll('*')].map((n) => getComputedStyle(n).transitionDuration))]"
    assert browse(reduced_motion="reduce").evaluate(durations) == ["0s"]
    assert len(browse(reduced_motion="no-preference").evaluate(durations)) > 1


def test_long_boards_come_fifty_rows_at_a_time(browse: Browse, server: BoardServer) -> None:
    rows = [board_row(0, id=f"{index:064x}", name=f"m{index:04}", rank_low=index + 1) for index in range(130)]
    server.answers["/v1/leaderboard"] = leaderboard(rows)
    page = browse()
    expect(page.locator("table.board tbody tr")).to_have_count(50)
    page.get_by_role("button", name="Show 50 more of 80").press("Enter")
    expect(page.locator("table.board tbody tr")).to_have_count(100)
    expect(page.locator(".model-link").nth(50)).to_be_focused()
    page.get_by_role("button", name="Show 30 more of 30").click()
    expect(page.locator("table.board tbody tr")).to_have_count(130)
    expect(page.locator("button.more")).to_have_count(0)


def test_the_checkpoint_claims_nothing(browse: Browse, server: BoardServer) -> None:
    page = browse()
    checkpoint = page.locator("#checkpoint")
    expect(checkpoint).to_contain_text("log 214")
    expect(checkpoint).to_contain_text("root d6d6d6d6d6d6")
    expect(checkpoint).to_contain_text("epoch 7")
    expect(checkpoint).to_contain_text("not checked here")
    checkpoint.locator("summary").click()
    commands = [f"peerboard verify {server.url}", "peerboard leaderboard --json | sha256sum"]
    expect(checkpoint.locator("pre")).to_have_text(commands)
    digest = page.evaluate(
        """async () => {
          const bytes = await (await fetch("/v1/leaderboard")).arrayBuffer();
          const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
          return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
        }"""
    )
    expect(checkpoint).to_contain_text(digest)
    assert re.search(r"(?<!not )\b(verified|checked here|✓)", page.locator("main").inner_text()) is None


def test_the_first_view_is_small(browse: Browse) -> None:
    page = browse()
    total = page.evaluate(
        """performance.getEntriesByType("navigation")
          .concat(performance.getEntriesByType("resource"))
          .filter((entry) => !entry.name.includes("/v1/"))
          .reduce((sum, entry) => sum + entry.encodedBodySize, 0)"""
    )
    assert 10_000 < total <= 40 * 1024
