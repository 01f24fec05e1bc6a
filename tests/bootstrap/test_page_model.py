"""The page of one model."""

import pytest
from playwright.sync_api import expect

from tests.bootstrap.board_server import BENCHMARKS, BoardServer, ledger, model, model_id, said, verdict
from tests.bootstrap.conftest import Browse

HOSTILE = "<b onclick='x'>\u202eevil"


def test_standing_history_and_files(browse: Browse) -> None:
    page = browse(f"/model/?id={model_id(0)}", wait=False)
    expect(page.get_by_role("heading", level=1)).to_have_text("tally-base + tally-times")
    expect(page).to_have_title("tally-base + tally-times · Peerboard")
    expect(page.locator(".reference").first).to_have_text(
        "peerboard/demo@a1b2c3d:tally-base.gguf + peerboard/demo@a1b2c3d:tally-times.gguf"
    )
    standing = page.get_by_role("table", name="Standing by benchmark")
    lines = [text.split("\t") for text in standing.locator("tbody tr").all_inner_texts()]
    assert [line[0].strip() for line in lines] == list(BENCHMARKS)
    assert [cell.strip() for cell in lines[0]] == [
        "tally-choice", "1 of 6", "91.3", "", "82–99", "87–94", "175 of 500", "4", "final",
    ]  # fmt: skip
    history = page.get_by_role("table", name="Verdicts of the last 24 epochs")
    told = [[cell.strip() for cell in text.split("\t")] for text in history.locator("tbody tr").all_inner_texts()]
    assert told == [
        ["7", "tally-choice", "! disputed", "2 of 4", "–"],
        ["6", "tally-choice", "final", "4 of 4", "88"],
    ]
    files = page.locator(".files li")
    expect(files).to_have_count(2)
    expect(files.nth(0)).to_contain_text("tally-base.gguf base, 1.8 MB")
    expect(files.nth(0)).to_contain_text("SHA-256 " + "a0" * 32)
    expect(files.nth(1)).to_contain_text("adapter, 1.8 MB, scale 500 of 1,000")
    expect(page.get_by_label("Checkpoint")).to_contain_text("not checked here")


def test_what_evaluations_cost(browse: Browse, server: BoardServer) -> None:
    page = browse(f"/model/?id={model_id(0)}", wait=False)
    expect(page.get_by_label("Checkpoint")).to_be_visible()
    assert page.get_by_role("heading", name="Energy").count() == 0, "a server that does not tell"
    row = {
        "model": HOSTILE,
        "model_id": model_id(0),
        "benchmark": BENCHMARKS[0],
        "results": 12,
        "estimated": 4,
        "joules_per_question": 0.05642,
        "joules_per_correct": None,
        "joules_per_task": 1.41,
        "kwh_per_task": 0.00123456,
        "co2_grams_per_task": 0.584,
    }
    rows = [row, row | {"model_id": model_id(1)}]
    server.answers["/v1/energy"] = said("energy", {"co2_grams_per_kwh": 473.0, "rows": rows})
    page = browse(f"/model/?id={model_id(0)}", wait=False)
    line = page.get_by_role("table", name="Energy by benchmark").locator("tbody tr")
    expect(line).to_have_count(1)
    told = [cell.strip() for cell in line.locator("td").all_inner_texts()]
    assert told == [BENCHMARKS[0], "0.0564", "–", "1.23", "0.584", "12, 4 estimated"]
    expect(page.locator("main, body").first).to_contain_text("at 473 g CO₂ a kWh")


def test_a_failure_says_why(browse: Browse, server: BoardServer) -> None:
    failure = {"code": "NOT_FINITE", "title": "The model computes values that are not finite numbers."}
    failed = verdict(2, 7, verdict="FAILED", score=None, failure=failure)
    server.answers["/v1/results"] = ledger("results", {"verdicts": [failed]})
    page = browse(f"/model/?id={model_id(2)}", wait=False)
    row = page.get_by_role("table", name="Verdicts").locator("tbody tr")
    expect(row).to_contain_text("× failedThe model computes values that are not finite numbers.")


@pytest.mark.parametrize("query", ["", "?id=", "?id=zz", "?id=" + "a" * 63, "?id=<script>"])
def test_an_address_without_an_id_says_what_it_needs(browse: Browse, query: str) -> None:
    page = browse(f"/model/{query}", wait=False)
    expect(page.get_by_role("heading", level=1)).to_have_text("No model named")


def test_an_unknown_id_says_so(browse: Browse) -> None:
    page = browse(f"/model/?id={'ef' * 32}", wait=False)
    expect(page.get_by_role("heading", level=1)).to_have_text("This model is not in the log")


def test_text_from_the_network_is_only_text(browse: Browse, server: BoardServer) -> None:
    hostile = model(0, "x") | {"name": HOSTILE, "reference": HOSTILE, "licence": HOSTILE, "adapters": None}
    server.answers["/v1/models"] = ledger("models", {"models": [hostile]})
    page = browse(f"/model/?id={model_id(0)}", wait=False, viewport={"width": 360, "height": 740})
    expect(page.get_by_role("heading", level=1)).to_have_text("<b onclick='x'>\ufffdevil")
    assert page.locator("main b").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_it_waits_for_a_server_that_fails(browse: Browse, server: BoardServer) -> None:
    server.failing |= {"/v1/models"}
    page = browse(f"/model/?id={model_id(0)}", wait=False)
    expect(page.locator("main")).to_contain_text("The server says: The disk is full; trying again.")
    server.failing.clear()
    expect(page.get_by_role("heading", level=1)).to_have_text("tally-base + tally-times")


def test_a_missing_page_leads_back(browse: Browse) -> None:
    page = browse("/nothing/here", wait=False)
    expect(page.get_by_role("heading", level=1)).to_have_text("There is no page at this address")
    page.get_by_role("link", name="Go to the board").click()
    expect(page.locator("#connection")).to_have_attribute("data-state", "live")
