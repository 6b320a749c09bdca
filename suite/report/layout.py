"""The parts of a report: what `suite.report.page` words and Markdown and HTML set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from suite.errors import printable

NOTES: Final = "notes"
"""Heading of a last column that holds the footnotes of the lines."""

_LONGEST: Final = 10_000
"""Characters of a text of a report; no published discrepancy takes as many."""


def plain(text: str) -> str:
    """A text without control characters, each of its lines by itself."""
    return "\n".join(printable(line, _LONGEST) for line in text.split("\n"))


Tone = Literal["good", "bad", "open"]
"""What a verdict says of its claim: it holds, it does not, or that is not decided."""


class Cell(str):
    """A text that carries what it means and where it leads; as a text it is the words alone.

    Attributes:
        tone: of a verdict; None where there is nothing to say.
        link: a page of the site, relative to its folder, or an address; empty where it leads nowhere.
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

    A cell that has a tone or leads somewhere is a `Cell`. Footnotes are shown where the last heading of the
    table is `NOTES`.
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
        published: whether it shows a published table, or claims that only others print; its rows are those
            that the site lays out in tables of its own.
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
