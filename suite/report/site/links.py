"""Where what a source says leads to: arXiv, GitHub, or an address that it names itself."""

from __future__ import annotations

from typing import Final

from suite.environment import HOMEPAGE
from suite.published.addresses import on_arxiv, on_github
from suite.published.claims import Paper
from suite.report.html import address_in
from suite.report.layout import Cell

ISSUES: Final = f"{HOMEPAGE}/issues"
"""Where corrections of what is shown are welcome."""


def source_cell(text: str, *about: str) -> Cell:
    """A place that prints a number, which leads to the document.

    Args:
        text: the place as it is shown.
        about: what else tells of the document; the first text that names one decides.
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
