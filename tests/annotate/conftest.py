"""A page that must pass quietly, and a PostgreSQL server."""

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page

from postgres_server import postgres  # noqa: F401 (a fixture)

# The tests' own doing; a test may stop its server before the page is closed.
HARMLESS = ("willReadFrequently", "ERR_ABORTED", "ERR_FAILED", "Failed to fetch", "ERR_CONNECTION", "ERR_EMPTY")


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens a page at 1280x720; afterwards nothing may have complained, popped up, or asked another host."""
    trouble: list[str] = []
    opened = []

    def open_page(url: str, **options: Any) -> Page:
        page = browser.new_page(viewport={"width": 1280, "height": 720}, **options)
        page.set_default_timeout(60_000)
        host = urlsplit(url).netloc
        opened.append(page)
        page.on("console", lambda said: trouble.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("dialog", lambda dialog: trouble.append(f"dialog: {dialog.message}"))
        page.on(
            "request", lambda asked: trouble.append(asked.url) if urlsplit(asked.url).netloc not in (host, "") else None
        )
        page.goto(url)
        return page

    yield open_page
    for page in opened:
        page.close()
    assert [line for line in trouble if not any(word in line for word in HARMLESS)] == []
