"""Reads the pages of a site as a browser without script would."""

from __future__ import annotations

import html.parser
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urldefrag


@dataclass
class Line:
    """A row of a table: the texts of its cells, and where its links lead.

    Attributes:
        cells: texts.
        links: of all cells.
        cell_links: of each cell.
    """

    cells: list[str] = field(default_factory=list)
    cell_links: list[list[str]] = field(default_factory=list)

    @property
    def links(self) -> list[str]:
        return [link for links in self.cell_links for link in links]


@dataclass
class Table:
    """A table with the heading of the section that it is in."""

    section: str
    headings: list[str] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)

    def column(self, heading: str) -> list[str]:
        """The texts of a column."""
        return [line.cells[self.headings.index(heading)] for line in self.lines]


class Page(html.parser.HTMLParser):
    """What is on a page; fails where elements do not nest."""

    VOID = frozenset({"meta", "link", "img", "br", "hr", "input"})

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tables: list[Table] = []
        self.text = ""
        self.section = ""
        self._open: list[str] = []
        self.source = path.read_bytes().decode("utf-8")
        self.feed(self.source)
        self.close()
        assert self._open == [], path

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.tags.append((tag, named))
        if tag not in self.VOID:
            self._open.append(tag)
        if named.get("id"):
            self.ids.append(str(named["id"]))
        link = named.get("href") or named.get("src")
        if link:
            self.links.append(link)
        if tag == "h2":
            self.section = ""
        if tag == "table":
            self.tables.append(Table(self.section))
        elif tag == "tr" and "tbody" in self._open:
            self.tables[-1].lines.append(Line())
        elif tag == "th":
            self.tables[-1].headings.append("")
        elif tag == "td":
            self.tables[-1].lines[-1].cells.append("")
            self.tables[-1].lines[-1].cell_links.append([])
        elif tag == "a" and "td" in self._open and link:
            self.tables[-1].lines[-1].cell_links[-1].append(link)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, self.path

    def handle_data(self, data: str) -> None:
        self.text += data
        if "h2" in self._open:
            self.section += data
        elif "th" in self._open:
            self.tables[-1].headings[-1] += data
        elif "td" in self._open:
            self.tables[-1].lines[-1].cells[-1] += data

    def leads_to(self, link: str) -> tuple[Path, str]:
        """The file and the anchor of a link within the site."""
        address, anchor = urldefrag(link)
        return (self.path.parent / unquote(address)).resolve() if address else self.path.resolve(), anchor


def is_outside(link: str) -> bool:
    """Whether a link leads to another site, or is no address of a file at all."""
    return link.startswith(("https://", "data:"))


def pages_of(folder: Path) -> dict[Path, Page]:
    """Every page of a site."""
    return {path.resolve(): Page(path) for path in sorted(folder.rglob("*.html"))}
