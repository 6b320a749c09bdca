"""The parts of a report: what `suite.report.page` words and Markdown and HTML set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from suite.errors import printable

NOTES: Final = "notes"
"""Heading of a last column that holds the footnotes of the lines."""

_LONGEST: Final = 10_000
"""Characters of a text of a report; no published discrepancy takes as many."""


def plain(text: str) -> str:
    """A text without control characters, each of its lines by itself."""
    return "\n".join(printable(line, _LONGEST) for line in text.split("\n"))


@dataclass(frozen=True)
class Line:
    """One row of a table: its cells, and the numbers of its footnotes (from 1).

    Footnotes are shown where the last heading of the table is `NOTES`.
    """

    cells: tuple[str, ...]
    notes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Grid:
    """One table of the report.

    Attributes:
        headings: of its columns.
        lines: its rows.
        title: one line above it; what is seen of it while it is folded.
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
        name: what its file and its anchor are called: small letters and hyphens.
        title: one line above it.
        description: what it shows, in a sentence, for who does not see it.
        svg: one ``<svg role="img">`` element with a title and a description of its own, inked in the colour
            of the text around it; it needs nothing else.
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
    """

    title: str
    grids: tuple[Grid, ...]
    remark: str = ""
    figures: tuple[Figure, ...] = ()


@dataclass(frozen=True)
class Page:
    """A whole report, in words.

    Attributes:
        title: heading.
        paragraphs: how to read it; on embedded data the first sentence says that they are.
        caption: what was run, the sign test over pairs, and how far the teachers are ahead.
        sections: what is known; one for each published table with claims, and one for claims of others
            alone; then own results beside their rivals, noise and power of embedded rows, settings that no
            release states, what stands beside deviations, results by class, numbers of others, and what the
            runs were made with.
        shared_departures: departures that every finished row has.
        footnotes: texts; footnote n is entry n - 1.
        commands: what makes these numbers.
    """

    title: str
    paragraphs: tuple[str, ...]
    caption: tuple[str, ...]
    sections: tuple[Section, ...]
    shared_departures: tuple[str, ...]
    footnotes: tuple[str, ...]
    commands: tuple[str, ...]
