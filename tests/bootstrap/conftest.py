"""A real browser for the tests of the page, and the server that it visits."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from tests.bootstrap.board_server import BoardServer

SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

Browse = Callable[..., Page]

# Generous, because a busy machine is no fault of the page.
expect.set_options(timeout=30_000)


@pytest.fixture(scope="module")
def chromium(require_tool: Callable[..., Path]) -> Iterator[Browser]:
    """One browser per module; it ends with the module, because it runs an asyncio loop in this thread."""
    path = require_tool("chromium", "chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=SWITCHES)
        yield browser
        browser.close()


@pytest.fixture
def server() -> Iterator[BoardServer]:
    board_server = BoardServer()
    board_server.start()
    yield board_server
    board_server.stop()


@pytest.fixture
def faults() -> list[str]:
    """Errors of scripts and breaches of the content policy that pages met; must be empty in the end."""
    return []


@pytest.fixture
def browse(chromium: Browser, server: BoardServer, faults: list[str]) -> Iterator[Browse]:
    """Opens an address in a fresh browser profile and watches for faults."""
    contexts = []

    def heard(message: ConsoleMessage) -> None:
        if "Content Security Policy" in message.text:
            faults.append(message.text)

    def open_page(path: str = "/", *, wait: bool = True, clock: bool = False, **options: Any) -> Page:
        context = chromium.new_context(**options)
        context.set_default_timeout(30_000)
        contexts.append(context)
        page = context.new_page()
        if clock:
            page.clock.install()
        page.on("console", heard)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(server.url + path)
        if wait:
            expect(page.locator("#connection")).to_have_attribute("data-state", "live")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []
