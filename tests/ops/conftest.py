"""A browser for pages that are written to files: whatever they ask of a network is refused, and fails the test."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Route

from connectors.errors import InputError
from ops.report.browser import chromium


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; that it is missing is a failure, not a skip: without it nothing is known of the page."""
    try:
        with chromium() as started:
            yield started
    except InputError as error:
        pytest.fail(str(error), pytrace=False)


@dataclass
class Opened:
    """A page, and what it did that it should not have.

    Attributes:
        page: the page.
        asked: addresses that it has asked for.
        errors: what it has thrown, or complained of.
    """

    page: Page
    asked: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def open(self, file: Path) -> Page:
        """Open a report and wait until all of it is drawn."""
        self.page.goto(file.resolve().as_uri())
        self.page.wait_for_selector("html[data-drawn=true]", state="attached")
        return self.page

    def check(self) -> None:
        """Fail if it was not quiet."""
        assert not self.errors
        assert not self.asked


@pytest.fixture
def opened(browser: Browser) -> Iterator[Opened]:
    """An empty page that is watched, and checked once more at the end."""
    with browser.new_context(viewport={"width": 1400, "height": 900}, service_workers="block") as context:
        watched = Opened(context.new_page())

        def refuse(route: Route) -> None:
            if route.request.url.startswith("file:"):
                route.continue_()
            else:
                watched.asked.append(route.request.url)
                route.abort()

        def complain(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning"):
                watched.errors.append(message.text)

        context.route("**/*", refuse)
        watched.page.on("console", complain)
        watched.page.on("pageerror", lambda error: watched.errors.append(str(error)))
        yield watched
        watched.check()
