"""One browser, and one site for all tests: that of the reference records, with hostile ones among them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests import chromium, hostile_site
from tests.conftest import built_once

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Dialog, Page


@pytest.fixture(scope="session")
def site(common_folder: Path) -> Path:
    """The folder of the site."""
    return built_once(common_folder / "site", hostile_site.build) / "site"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium. It ends with the last test of its file: no other test is to find its event loop."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=chromium.executable(), args=list(chromium.ARGUMENTS)
        )
        try:
            yield started
        finally:
            started.close()


@dataclass
class Reader:
    """Somebody who looks at pages of the site.

    Attributes:
        site: its folder.
        context: the window.
        complaints: what the browser said or asked for that it must not.
    """

    site: Path
    context: BrowserContext
    complaints: list[str] = field(default_factory=list)

    def open(self, name: str, query: str = "") -> Page:
        """Opens a page of the site from the disk, in a tab of its own."""
        page = self.context.new_page()
        page.on("console", lambda message: self.complaints.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("dialog", self._refuse)
        page.on("request", lambda request: self._note(request.url))
        page.goto(f"{(self.site / name).as_uri()}{query}")
        return page

    def _refuse(self, dialog: Dialog) -> None:
        self.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _note(self, address: str) -> None:
        if not address.startswith((f"{self.site.as_uri()}/", "data:", "blob:")):
            self.complaints.append(f"request: {address}")


@pytest.fixture
def reader(browser: Browser, site: Path) -> Iterator[Callable[..., Reader]]:
    """Opens windows with options of their own; in the end nothing may have been complained of."""
    readers: list[Reader] = []

    def make(**options: Any) -> Reader:
        readers.append(Reader(site, browser.new_context(**options)))
        return readers[-1]

    yield make
    for one in readers:
        one.context.close()
    assert [complaint for one in readers for complaint in one.complaints] == []


@pytest.fixture
def names(site: Path) -> dict[str, str]:
    """A page of each kind, by what it is."""
    runs = sorted((site / "runs").glob("*.html"))
    hostile = next(path for path in runs if path.name.startswith("0000000000000001"))
    # The largest has most to go wrong, and stays the same kind of page as records are added.
    config = max(sorted((site / "configs").glob("*.html")), key=lambda path: path.stat().st_size)
    return {
        "index": "index.html",
        "paper": "fgd.html",
        "claim": "claims/mgd-retinanet-r50.html",
        "run": f"runs/{runs[-1].name}",
        "config": f"configs/{config.name}",
        "hostile paper": "evil.html",
        "hostile run": f"runs/{hostile.name}",
    }
