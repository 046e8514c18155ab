"""A headless Chromium to look at pages with; Playwright drives it, and comes with the development packages."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

from connectors.errors import InputError

# Nothing but the page: no update, no account, no check of the network.
_QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's Chromium, for as long as the context lasts.

    Raises:
        InputError: there is none; the message names the command that installs it.
    """
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        raise InputError("there is no Chromium to look at pages with; `make browser-deps` installs it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(_QUIET))
        try:
            yield browser
        finally:
            browser.close()
