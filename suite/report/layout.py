"""The parts of a report, which `suite.report.page` fills with text, and Markdown and HTML render."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from suite.errors import printable

NOTES: Final = "notes"
"""Heading of a last column with the footnotes of the lines."""

_LONGEST: Final = 10_000
"""Most characters of a text in a report; every published discrepancy is shorter."""


def plain(text: str) -> str:
    """A text without control characters except line breaks."""
    return "\n".join(printable(line, _LONGEST) for line in text.split("\n"))


Tone = Literal["good", "bad", "open"]
"""What a verdict says about its claim: it holds, it does not, or it is undecided."""


class Cell(str):
    """A text with a tone and a link; used as a string, it is only the text.

    Attributes:
        tone: of a verdict; None for other cells.
        link: a page of the site, relative to its folder, or an address; empty if there is none.
    """

    __slots__ = ("link", "tone")

    tone: Tone | None
    link: str

    def __new__(cls, text: str, tone: Tone | None = None, link: str = "") -> Cell:
        """A text with a tone, a link, or both."""
        cell = super().__new__(cls, text)
        cell.tone = tone
        cell.link = link
        return cell


@dataclass(frozen=True)
class Line:
    """One row of a table: its cells, and the numbers of its footnotes (from 1).

    A cell that has a tone or a link is a `Cell`. Footnotes are shown if the last heading of the table is
    `NOTES`.
    """

    cells: tuple[str, ...]
    notes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Grid:
    """One table of the report.

    Attributes:
        headings: of its columns.
        lines: its rows.
        title: one line above it; while folded, only this is visible.
        folded: whether a reader has to open it.
        note: one line below it.
    """

    headings: tuple[str, ...]
    lines: tuple[Line, ...]
    title: str = ""
    folded: bool = False
    note: str = ""


@dataclass(frozen=True)
class Figure:
    """A figure with the numbers that it draws.

    Attributes:
        name: name of its file and its anchor: lower-case letters, digits and hyphens.
        title: one line above it.
        description: what it shows, in a sentence, for readers who cannot see it.
        svg: one self-contained ``<svg role="img">`` element with its own title and description, drawn in the
            colour of the text around it.
        table: the numbers.
    """

    name: str
    title: str
    description: str
    svg: str
    table: Grid


@dataclass(frozen=True)
class Section:
    """One published table, or a chapter of its own.

    Attributes:
        title: heading.
        grids: its tables.
        remark: a sentence below the heading.
        figures: before its tables.
        published: whether it shows a published table, or claims that only others print; the site shows its
            rows in tables of its own.
    """

    title: str
    grids: tuple[Grid, ...]
    remark: str = ""
    figures: tuple[Figure, ...] = ()
    published: bool = False


@dataclass(frozen=True)
class Page:
    """A whole report, in words.

    Attributes:
        title: heading.
        paragraphs: how to read it; for embedded data, the first sentence says so.
        caption: what was run, the sign test over pairs, and how far ahead the teachers are.
        sections: what is known; one for each published table with claims, and one for claims that only others
            print; then own results beside their rivals, noise and power of embedded rows, settings that no
            release states, details of deviations, results by class, numbers by others, and the environment
            of the runs.
        shared_departures: departures that every finished row has.
        footnotes: texts; footnote n is entry n - 1.
        commands: commands that reproduce these numbers.
    """

    title: str
    paragraphs: tuple[str, ...]
    caption: tuple[str, ...]
    sections: tuple[Section, ...]
    shared_departures: tuple[str, ...]
    footnotes: tuple[str, ...]
    commands: tuple[str, ...]
