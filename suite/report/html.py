"""Renders reports as HTML: the templates, and a self-contained page without scripts.

The site (`suite.report.site`) has the same style and the same tables.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Final

import jinja2
from markupsafe import Markup, escape

from suite.published.addresses import on_arxiv, on_github
from suite.report.cells import NOTHING
from suite.report.layout import NOTES, Grid, Page, plain

GENERATOR: Final = "distillation-reproducibility"
"""Name of the generator in pages of the site."""

_HERE: Final = Path(__file__).parent
_SITE: Final = _HERE / "site"
_NUMBER: Final = re.compile(r"[+-]?\d+(\.\d+)?(e[+-]\d+)?%?")
_SHORT: Final = 34
"""Most characters of a cell that is kept on one line."""
_EMPTY: Final = frozenset({"", NOTHING})

_ADDRESS: Final = re.compile(
    r"(?P<address>https?://[A-Za-z0-9._~:/?#@!$&*+,;=%-]*[A-Za-z0-9/_=-])"
    r"|arXiv (?P<arxiv>\d{4}\.\d{4,5})"
    r"|(?P<repository>[A-Za-z0-9-]+/[A-Za-z0-9._-]+) (?:issue|pull request) (?P<thread>\d+)"
)


def to_html(page: Page) -> str:
    """Renders a page as self-contained HTML; every string of the page is escaped."""
    style = (_SITE / "site.css").read_text(encoding="utf-8")
    return environment().get_template("page.html.j2").render(page=page, notes=NOTES, style=style)


@functools.lru_cache(maxsize=1)
def environment() -> jinja2.Environment:
    """The template environment; its output is escaped and free of control characters."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader([_HERE, _SITE / "templates"]),
        autoescape=True,
        keep_trailing_newline=True,
        finalize=_without_controls,
    )
    made.globals["generator"] = GENERATOR
    made.filters |= {"href": _href, "linked": linked, "prose": prose, "column_classes": column_classes}
    return made


def _without_controls(value: object) -> object:
    # The output of a template macro is markup, and already escaped.
    return plain(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _href(link: str, root: str) -> str:
    """The href of a cell's link: an address unchanged, a page of the site relative to `root`."""
    return link if link.startswith(("https://", "http://")) else f"{root}{link}"


def column_classes(grid: Grid) -> list[str]:
    """The CSS class of each column: ``n`` for numbers, aligned right; ``w`` for longer texts; else empty."""
    columns = range(len(grid.headings))
    return [
        _class_of([line.cells[column] for line in grid.lines if column < len(line.cells)])
        for column in columns
    ]


def _class_of(cells: list[str]) -> str:
    said = [cell for cell in cells if cell not in _EMPTY]
    if said and all(_NUMBER.fullmatch(cell) for cell in said):
        return "n"
    return "w" if any(len(cell) > _SHORT for cell in said) else ""


def address_in(text: str) -> str:
    """The address of the document that a text names: a URL, an arXiv paper, or a thread on GitHub.

    Returns:
        The first one; empty if it names none.
    """
    found = _ADDRESS.search(text)
    return _target(found) if found else ""


def _target(found: re.Match[str]) -> str:
    if found["address"]:
        return found["address"]
    if found["arxiv"]:
        return on_arxiv(found["arxiv"])
    return on_github(found["repository"], f"issues/{found['thread']}")


def linked(text: str) -> Markup:
    """A text as HTML in which URLs, arXiv numbers and GitHub threads are links."""
    text = plain(text)
    parts: list[str] = []
    end = 0
    for found in _ADDRESS.finditer(text):
        link = Markup('<a href="{}">{}</a>').format(_target(found), found[0])
        parts += [escape(text[end : found.start()]), link]
        end = found.end()
    return Markup("").join([*parts, escape(text[end:])])


def prose(text: str) -> Markup:
    """A sentence as HTML: words in backticks become code, addresses become links."""
    parts = plain(text).split("`")
    if len(parts) % 2 == 0:
        return linked(text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else linked(part)
        for number, part in enumerate(parts)
    )
