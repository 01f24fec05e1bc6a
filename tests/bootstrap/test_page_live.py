"""The page while things change: events, gaps, a newer board, a server that goes away and comes back."""

from playwright.sync_api import Page, expect

from tests.bootstrap.board_server import (
    BENCHMARKS,
    BoardServer,
    activity,
    board_row,
    board_rows,
    leaderboard,
    said,
    status,
    task,
)
from tests.bootstrap.conftest import Browse


def names(page: Page) -> list[str]:
    return page.locator("table.board tbody .model-link").all_inner_texts()


def connection(page: Page, state: str) -> None:
    expect(page.locator("#connection")).to_have_attribute("data-state", state)


def test_the_strip_tells_epoch_phase_and_time(browse: Browse, server: BoardServer) -> None:
    page = browse(clock=True)
    strip = page.locator("#epoch")
    expect(strip).to_contain_text("Epoch 8")
    expect(strip.locator("[aria-current=step]")).to_have_text("evaluating")
    page.clock.pause_at(page.evaluate("Date.now() / 1000 + 1"))
    server.push("status", status(epoch={"number": 9, "ends_in_s": 30.0, "phase": "sealed", "leaderless": True}))
    expect(strip).to_contain_text("closes in 30 s")
    expect(strip.locator("[aria-current=step]")).to_have_text("sealed")
    expect(strip).to_contain_text("leaderless")
    page.clock.fast_forward(10_000)
    expect(strip).to_contain_text("closes in 20 s")
    paused = status(state="paused", reasons=[{"code": "DISK_FULL", "title": "The disk is full", "until": None}])
    server.push("status", paused)
    expect(strip).to_contain_text("This server is paused. The disk is full")


def test_tasks_tell_who_does_what_and_how_many_agree(browse: Browse, server: BoardServer) -> None:
    page = browse()
    items = page.locator("#tasks > li")
    expect(items).to_have_count(3)
    expect(page.locator("#task-counts")).to_have_text("3 tasks: 3 running.")
    items.nth(0).locator("summary").click()
    table = items.nth(0).get_by_role("table", name="Runners")
    rows = [text.split() for text in table.locator("tbody tr").all_inner_texts()]
    assert [row[-1] for row in rows] == ["sealed", "%", "%", "begun"]
    assert rows[1][1:3] == ["assigned", "72"]
    done = [task(index) for index in range(3)]
    for each in done:
        for runner in each["runners"]:
            runner |= {"committed": True, "revealed": True}
        each |= {"state": "DONE", "agreeing": 3, "counted": 4, "committed": 4}
    done[2] |= {"firm": True}
    server.push("tasks", {"epoch": 8, "tasks": done})
    expect(page.locator("#task-counts")).to_have_text("3 tasks: 3 agreed.")
    expect(items.nth(0).locator(".task-agree")).to_have_text("3 of 4 agree")
    assert items.locator(".task-state").all_inner_texts() == ["~ agreed", "~ agreed", "agreed, firm"]
    # The one that the reader opened is still open, with the new stages in it.
    expect(items.nth(0).get_by_role("table", name="Runners")).to_contain_text("revealed")


def test_many_tasks_are_counted_and_the_first_are_listed(browse: Browse, server: BoardServer) -> None:
    page = browse()
    many = [task(index, benchmark) for benchmark in BENCHMARKS for index in range(30)]
    server.push("tasks", {"epoch": 8, "tasks": many})
    expect(page.locator("#task-counts")).to_have_text("60 tasks: 60 running. First 24 below.")
    expect(page.locator("#tasks > li")).to_have_count(24)
    server.push("tasks", {"epoch": None, "tasks": []})
    expect(page.locator("#task-counts")).to_have_text("Tasks are derived when the first epoch opens.")


def test_activity_is_newest_first_and_bounded(browse: Browse, server: BoardServer) -> None:
    page = browse()
    for number in range(60):
        server.push("activity", activity(number, "warn" if number == 59 else "ok"))
    expect(page.locator("#activity li").first).to_contain_text("59 of 4 agree")
    expect(page.locator("#activity li")).to_have_count(50)
    expect(page.locator("#activity li").first).to_contain_text("look: ")
    nothing_below = "document.documentElement.scrollHeight - document.body.getBoundingClientRect().bottom - scrollY"
    assert page.evaluate(nothing_below) <= 1, "the list scrolls in itself"


def test_events_in_sequence_fetch_nothing_and_a_gap_fetches_everything(browse: Browse, server: BoardServer) -> None:
    page = browse()
    for number in range(5):
        server.push("activity", activity(number))
    expect(page.locator("#activity li").first).to_contain_text("4 of 4 agree")
    before = server.requests.copy()
    server.push("status", status(epoch={"number": 9, "ends_in_s": 50.0, "phase": "evaluate", "leaderless": False}))
    expect(page.locator("#epoch")).to_contain_text("Epoch 9")
    assert server.requests == before
    server.answers["/v1/status"] = said(
        "status", status(epoch={"number": 11, "ends_in_s": 50.0, "phase": "reveal", "leaderless": False})
    )
    server.push("activity", activity(6), skip=3)
    expect(page.locator("#epoch")).to_contain_text("Epoch 11")
    for path in ("/v1/leaderboard", "/v1/status", "/v1/tasks"):
        assert server.requests[path] == before[path] + 1


def test_rows_move_only_when_the_reader_says_so(browse: Browse, server: BoardServer) -> None:
    page = browse()
    before = names(page)
    rows = board_rows()
    rows[0] |= {"rank_low": 2, "rank_high": 2, "score": 70.0}
    rows[1] |= {"rank_low": 1, "rank_high": 1}
    del rows[-1]
    server.answers["/v1/leaderboard"] = leaderboard(rows, size=300, epoch=8)
    server.push("board", {"epoch": 8})
    button = page.get_by_role("button", name="3 rows changed · Show")
    expect(button).to_be_visible()
    expect(page.locator("#checkpoint")).to_contain_text("newer: epoch 8")
    expect(page.locator("#stands")).to_contain_text("After epoch 7, log 214")
    assert names(page) == before
    button.press("Enter")
    expect(button).to_be_hidden()
    expect(page.locator("#stands")).to_contain_text("After epoch 8, log 300")
    assert names(page) == [before[1], before[0], *before[2:-1]]


def test_a_new_checkpoint_with_the_same_rows_disturbs_nobody(browse: Browse, server: BoardServer) -> None:
    page = browse()
    page.locator(".model-link").nth(2).focus()
    server.answers["/v1/leaderboard"] = leaderboard(board_rows(), size=250, epoch=8)
    server.push("board", {"epoch": 8})
    expect(page.locator("#stands")).to_contain_text("After epoch 8, log 250")
    expect(page.locator("#changes")).to_be_hidden()
    expect(page.locator(".model-link").nth(2)).to_be_focused()


def test_a_shorter_log_is_pointed_out(browse: Browse, server: BoardServer) -> None:
    page = browse()
    server.answers["/v1/leaderboard"] = leaderboard(board_rows()[:-1], size=200, epoch=6)
    server.push("board", {"epoch": 6})
    expect(page.locator("#checkpoint")).to_contain_text("the server now gives a shorter log: 200")


def test_an_empty_board_counts_down_and_fills_by_itself(browse: Browse, server: BoardServer) -> None:
    server.answers["/v1/leaderboard"] = leaderboard([], size=12, epoch=None)
    server.answers["/v1/status"] = said("status", status(epoch=None))
    page = browse()
    expect(page.locator("#empty")).to_have_text("No result yet. The first epoch has not opened.")
    expect(page.locator("#epoch")).to_have_text("No epoch is open yet.")
    server.push("status", status())
    expect(page.locator("#empty")).to_contain_text("No result yet. The first epoch closes in 4")
    server.answers["/v1/leaderboard"] = leaderboard([board_row(0)], size=90, epoch=0)
    server.push("board", {"epoch": 0})
    expect(page.locator("table.board tbody tr")).to_have_count(1)
    expect(page.locator("#changes")).to_be_hidden()


def test_a_server_that_goes_away_leaves_the_saved_copy(browse: Browse, server: BoardServer) -> None:
    page = browse()
    before = names(page)
    server.stop()
    connection(page, "lost")
    notice = page.locator("#offline")
    expect(notice).to_contain_text("Saved copy of ")
    expect(notice).to_contain_text("less than a minute old. The server does not answer; retrying.")
    expect(page.locator("#epoch")).to_contain_text("time left unknown")
    assert names(page) == before
    server.start()
    connection(page, "live")
    expect(notice).to_be_hidden()


def test_a_page_that_opens_without_an_answer_shows_what_it_saved(browse: Browse, server: BoardServer) -> None:
    page = browse()
    before = names(page)
    server.failing |= {"/v1/leaderboard"}
    page.reload()
    connection(page, "lost")
    expect(page.locator("#offline")).to_contain_text("Saved copy of ")
    expect(page.locator("#offline")).to_contain_text("The server says: The disk is full; retrying.")
    assert names(page) == before
    server.failing.clear()
    connection(page, "live")
    expect(page.locator("#offline")).to_be_hidden()


def test_without_answer_and_copy_it_says_that(browse: Browse, server: BoardServer) -> None:
    server.failing |= {"/v1/leaderboard"}
    page = browse(wait=False)
    connection(page, "lost")
    expect(page.locator("#empty")).to_contain_text("this browser holds no saved copy")


def test_another_form_of_answer_is_no_crash(browse: Browse, server: BoardServer) -> None:
    server.answers["/v1/leaderboard"] = {"data": {"rows": None}}
    page = browse(wait=False)
    connection(page, "lost")
    expect(page.locator("#offline")).to_contain_text("The server's answer has an unknown form; retrying.")


def test_warnings_and_witnesses_are_shown(browse: Browse, server: BoardServer) -> None:
    page = browse()
    expect(page.locator("#warnings")).to_be_hidden()
    expect(page.locator("#witnesses")).to_have_count(0)
    warnings = [
        {"code": "UNWITNESSED", "severity": "note", "title": "The mark of epoch 7 is unwitnessed", "remedy": "Wait."},
        {"code": "STALE", "severity": "warn", "title": "The newest mark is 3 epochs old", "remedy": "See peers."},
        {"code": "FORK", "severity": "fail", "title": "Two <b>histories</b>\u202e", "remedy": "Compare."},
        {"code": "X", "severity": "other", "title": "of a newer version", "remedy": ""},
    ]
    log = {"size": 214, "root": "d6" * 32, "epoch": 7, "age_s": 1.0}
    below = {"cosigned": 1, "quorum": 3, "of": 4, "witnessed": False}
    server.push("status", status(log={**log, "witnesses": below}) | {"warnings": warnings})
    shown = page.locator("#warnings li")
    expect(shown).to_have_count(3)
    assert [row.get_attribute("data-code") for row in shown.all()] == ["FORK", "STALE", "UNWITNESSED"]
    expect(shown.first).to_contain_text("Two <b>histories</b>\ufffd Compare.")
    expect(page.locator("#announcer")).to_contain_text("histories")
    expect(page.locator("#witnesses")).to_have_text("unwitnessed: 1 of 4, 3 needed")
    server.push(
        "status", status(log={**log, "witnesses": below | {"cosigned": 3, "witnessed": True}}) | {"warnings": []}
    )
    expect(page.locator("#witnesses")).to_have_text("witnessed by 3 of 4")
    expect(page.locator("#warnings")).to_be_hidden()
    # What stood before the page was opened comes with the first answer.
    server.answers["/v1/status"] = said("status", status()) | {"warnings": warnings[1:2]}
    page.reload()
    expect(page.locator("#warnings li")).to_have_attribute("data-code", "STALE")


def test_the_copy_ages(browse: Browse, server: BoardServer) -> None:
    page = browse(clock=True)
    server.stop()
    connection(page, "lost")
    page.clock.fast_forward("03:05")
    expect(page.locator("#offline")).to_contain_text("; 3 min old. ")


def test_a_silent_stream_is_given_up(browse: Browse, server: BoardServer) -> None:
    page = browse(clock=True)
    with page.expect_request("**/v1/events"):
        page.clock.fast_forward(16_000)
    connection(page, "live")
    server.push("activity", activity(1))
    expect(page.locator("#activity li")).to_have_count(1)


def test_a_broken_event_ends_the_stream_and_not_the_page(browse: Browse, server: BoardServer) -> None:
    page = browse()
    server.push_raw(b"event: status\ndata: {not json\n\n")
    connection(page, "polling")
    connection(page, "live")
    server.push("activity", activity(1))
    expect(page.locator("#activity li").first).to_contain_text("1 of 4 agree")


def test_screen_readers_hear_of_changes_at_most_once_a_minute(browse: Browse, server: BoardServer) -> None:
    page = browse(clock=True)
    region = page.locator("#announcer")
    expect(region).to_have_attribute("aria-live", "polite")
    expect(region).to_be_empty()
    server.answers["/v1/leaderboard"] = leaderboard(board_rows()[:-1], size=220)
    server.push("board", {"epoch": 8})
    expect(region).to_have_text("The board has a newer version: 1 row changed.")
    page.clock.pause_at(page.evaluate("Date.now() / 1000 + 1"))
    page.locator("#show").click()
    expect(page.locator("#changes")).to_be_hidden()
    page.clock.fast_forward(40_000)
    expect(region).to_have_text("The board has a newer version: 1 row changed.")
    page.clock.fast_forward(25_000)
    expect(region).to_have_text("The newer board is shown.")
    assert page.locator("[aria-live], [role=status], [role=log], [role=alert]").count() == 1
