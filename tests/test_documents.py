"""What people read leads somewhere."""

from __future__ import annotations

import re

import pytest

from suite.paths import REFERENCE, ROOT

PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), REFERENCE / "README.md"]

LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
"""A link to another file, or a figure: what stands before the anchor."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_to_a_file(page):
    links = LINK.findall(page.read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link and not link.startswith("mailto:")]
    assert [link for link in local if not (page.parent / link).exists()] == []


def test_every_guide_is_listed():
    listed = set(LINK.findall((ROOT / "docs" / "README.md").read_text(encoding="utf-8")))
    guides = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert guides <= listed
