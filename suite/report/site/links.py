"""Links from sources to arXiv, GitHub, or an address that they name themselves."""

from __future__ import annotations

from typing import Final

from suite.environment import HOMEPAGE
from suite.published.addresses import on_arxiv, on_github
from suite.published.claims import Paper
from suite.report.html import address_in
from suite.report.layout import Cell

ISSUES: Final = f"{HOMEPAGE}/issues"
"""Where to send corrections."""


def source_cell(text: str, *about: str) -> Cell:
    """A place that prints a number, linked to the document.

    Args:
        text: the place as shown.
        about: further texts that may name the document; the first text with an address is used.
    """
    return Cell(text, link=next(filter(None, map(address_in, (text, *about))), ""))


def papers_of(paper: Paper) -> tuple[Cell, ...]:
    """The paper's documents: each arXiv number, and its official code."""
    return (
        *(Cell(f"arXiv {number}", link=on_arxiv(number)) for number in paper.arxiv),
        Cell(f"code: {paper.code}", link=on_github(paper.code)),
    )


def config_cell(paper: Paper, path: str) -> Cell:
    """A config of the official repository."""
    return Cell(path, link=on_github(paper.code, f"blob/HEAD/{path}"))
