"""Pages in a real browser, with the network off: what every test of a page needs.

A page is opened at 1280 or 390 pixels, light or dark. It fails its test if it asks for anything, breaks its own
content-security policy, writes an error to the console, or is wider than the window.

The browser is Chromium or Chrome, found on the PATH or named by MINIDL_BROWSER. Where there is none the tests are
skipped, unless MINIDL_NEED_BROWSER is set, as it is where every submission is tested.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from minidl.study.doctor import BROWSERS, executable

LOUD = ("error", "warning")
WIDTHS, SCHEMES = (1280, 390), ("light", "dark")


def why_not() -> str | None:
    """Why pages cannot be opened here, or None."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "playwright is not installed"
    return None if executable() else f"there is no browser: none of {', '.join(BROWSERS)} on the PATH"


class Browser:
    """Opens pages in one running browser."""

    def __init__(self, chromium: Any):
        self.chromium = chromium

    @contextmanager
    def open(self, path: str | Path, *, width: int = 1280, scheme: str = "light") -> Iterator[Any]:
        """Playwright's page, showing the file; at the end of the block it must have behaved (see above)."""
        context = self.chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True, reduced_motion="reduce"
        )
        page, wrong = context.new_page(), []
        page.on("console", lambda message: wrong.append(f"console: {message.text}") if message.type in LOUD else 0)
        page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        page.on("request", lambda asked: wrong.append(f"asks for {asked.url}") if not local(asked.url) else 0)
        try:
            page.goto(Path(path).resolve().as_uri())
            yield page
            spare = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert spare <= 0, f"the page is {spare} pixels wider than the window of {width}"
            assert not wrong, wrong
        finally:
            context.close()


def local(url: str) -> bool:
    return url.startswith(("file:", "data:", "about:", "blob:"))


@contextmanager
def running() -> Iterator[Browser]:
    """A browser for the tests of one process. Skips, or fails where a browser is required."""
    if reason := why_not():
        if os.environ.get("MINIDL_NEED_BROWSER"):
            pytest.fail(f"MINIDL_NEED_BROWSER is set, but {reason}")
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as tools:
        chromium = tools.chromium.launch(executable_path=executable(), args=["--no-sandbox", "--disable-gpu"])
        try:
            yield Browser(chromium)
        finally:
            chromium.close()
