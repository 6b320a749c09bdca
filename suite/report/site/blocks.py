"""The building blocks of the site's pages. Pure functions make them; one template renders them."""

from __future__ import annotations

from dataclasses import dataclass

from suite.report.layout import Figure, Grid
from suite.report.slugs import LONGEST, slugged


@dataclass(frozen=True)
class Listing:
    """Preformatted text: a command, a config, a record.

    Attributes:
        title: one line above it; while folded, only this is visible.
        text: its lines.
        folded: whether a reader has to open it.
    """

    title: str
    text: str
    folded: bool = False


@dataclass(frozen=True)
class Chapter:
    """A part of a page with a heading; the attributes are in the order in which they are shown.

    Attributes:
        title: heading.
        paragraphs: sentences below it; words in backticks are code.
        points: a list; entries with a link are `suite.report.layout.Cell`.
        figures: each with its numbers.
        grids: tables.
        listings: preformatted texts.
        chosen: whether a reader may filter the rows of its tables and choose their columns.
        anchor: its anchor for links; empty to derive it from the title.
    """

    title: str
    paragraphs: tuple[str, ...] = ()
    points: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    grids: tuple[Grid, ...] = ()
    listings: tuple[Listing, ...] = ()
    chosen: bool = False
    anchor: str = ""


@dataclass(frozen=True)
class Sheet:
    """A page of the site.

    Attributes:
        path: relative to the folder of the site.
        title: heading, and title of the window.
        trail: the pages above it, the index first.
        verdicts: shown before anything else.
        lead: sentences below the heading.
        facts: pairs of a name and its values, each value on its own line.
        chapters: its parts.
        footnotes: texts; footnote n is entry n - 1.
    """

    path: str
    title: str
    trail: tuple[str, ...] = ()
    verdicts: tuple[str, ...] = ()
    lead: tuple[str, ...] = ()
    facts: tuple[tuple[str, tuple[str, ...]], ...] = ()
    chapters: tuple[Chapter, ...] = ()
    footnotes: tuple[str, ...] = ()

    @property
    def root(self) -> str:
        """The relative path from the page to the folder of the site."""
        return "../" * self.path.count("/")

    @property
    def anchored(self) -> list[tuple[str, Chapter]]:
        """The chapters, each with an anchor that is unique on the page."""
        found: dict[str, Chapter] = {}
        for chapter in self.chapters:
            anchor = chapter.anchor or anchor_of(chapter.title)
            if anchor in found:
                anchor = f"{anchor}-{len(found)}"
            found[anchor] = chapter
        return list(found.items())


def anchor_of(title: str) -> str:
    """A heading as an anchor: its letters and digits, with hyphens for the rest."""
    return slugged(title, "part", LONGEST)
