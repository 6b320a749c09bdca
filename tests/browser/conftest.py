"""One browser, and one site for all tests: that of the reference records, with hostile ones among them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from suite.paths import REFERENCE
from suite.published.claims import Paper
from suite.published.finding import load_papers
from suite.report.site import write_site
from suite.store.records import Record, read_all, write_record
from suite.store.summaries import read_summaries
from tests import chromium
from tests.conftest import built_once

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Dialog, Page

EVIL = (
    "<script>alert(1)</script> | \"'><img src=x onerror=alert(2)> =cmd() javascript:alert(3) {{7*7}}\nsecond"
)
LONG = "w" * 300
"""A word that breaks a page where nothing breaks the word."""


@pytest.fixture(scope="session")
def site(common_folder: Path) -> Path:
    """The folder of the site."""
    return built_once(common_folder / "site", _build) / "site"


def _build(folder: Path) -> None:
    store = folder / "records"
    shutil.copytree(REFERENCE / "records", store, ignore=shutil.ignore_patterns(".*"))
    papers = load_papers()
    for record in _hostile_records(read_all(store)):
        write_record(store, record)
    everything = [*papers.values(), _hostile_paper(papers["mgd"])]
    write_site(folder / "site", everything, read_summaries(store), store, folder / "work")


def _hostile_records(records: list[Record]) -> Iterator[Record]:
    """A run that failed with a hostile message, and one more seed with hostile facts of its machine."""
    one = next(record for record in records if record.arm == "distilled" and record.task == "detection")
    document = json.loads(one.model_dump_json())
    facts = {"hostname": EVIL, "cpu": f"{EVIL} {LONG}", "os": LONG}
    changes: list[dict[str, Any]] = [
        {"seed": 8, "status": "failed", "metrics": {}, "error": f"{EVIL} {LONG}"},
        {"seed": 9, "provenance": {**document["provenance"], "host": facts, "command": EVIL}},
    ]
    for number, change in enumerate(changes):
        run_id = f"{number:016x}"
        yield Record.model_validate_json(
            json.dumps({**document, **change, "run_id": run_id, "former_ids": []})
        )


def _hostile_paper(paper: Paper) -> Paper:
    """A paper every word of which is hostile."""
    claims = [
        claim.model_copy(
            update={
                "id": f"{EVIL} {number}",
                "method": f"{EVIL} {LONG}",
                "note": EVIL,
                "student": EVIL,
                "upstream_config": EVIL,
                "discrepancies": [],
            }
        )
        for number, claim in enumerate(paper.claims[:3])
    ]
    tables = [table.model_copy(update={"title": EVIL, "source": EVIL}) for table in paper.tables]
    return paper.model_copy(
        update={
            "id": "evil",
            "title": EVIL,
            "venue": LONG,
            "code": EVIL,
            "claims": claims,
            "tables": tables,
            "quoted": [],
            "protocols": [],
        }
    )


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Chromium. It ends with the last test of this folder: nobody else is to find its event loop."""
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
    return {
        "index": "index.html",
        "paper": "fgd.html",
        "claim": "claims/mgd-retinanet-r50.html",
        "run": f"runs/{runs[-1].name}",
        "config": f"configs/{sorted((site / 'configs').glob('*.html'))[0].name}",
        "hostile paper": "evil.html",
        "hostile run": f"runs/{hostile.name}",
    }
