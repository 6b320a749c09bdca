"""A report as one HTML page that needs nothing else: no script, no style sheet, no image."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import jinja2

from suite.report.layout import NOTES, Page, plain

_TEMPLATE: Final = "page.html.j2"


def to_html(page: Page) -> str:
    """Sets a page as HTML; every string of the page is escaped."""
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, keep_trailing_newline=True, finalize=_without_controls
    )
    return environment.get_template(_TEMPLATE).render(page=page, notes=NOTES)


def _without_controls(value: object) -> object:
    # What a macro of the template has made is markup, and escaped already.
    return plain(value) if isinstance(value, str) and not hasattr(value, "__html__") else value
